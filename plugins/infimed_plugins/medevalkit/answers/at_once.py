"""Answers of a letter and little else, which are read at a glance; all the rules would read them alike."""

from __future__ import annotations

import re

from infimed_plugins.medevalkit.answers.named_options import LETTERS, Options
from infimed_plugins.medevalkit.answers.prepared import MARK, Prepared
from infimed_plugins.medevalkit.answers.resolving import Resolved, resolve

LONGEST = 200
_END = r"[ .,:;!)\]}\"'*。、|~-]*(?:[#(\[] ?\d{1,9}[\])]?[ .。]*)?"
"""Signs, and perhaps a number that is set apart as a reference is ("[3]", "#12")."""
_LETTER = re.compile(
    r"[\"'(\[ ]*(?:(?:the |my )?(?:(?:final|correct|best|right) )*(?:answer|option|choice)(?: is| would be)? ?:? ?|"
    r"i (?:would )?(?:choose|pick|select)(?: option)? |i'd go with (?:option )?|it's |it is |"
    r"(?:正确|最终)?答案 ?[是为:]? ?|选项? ?)?[\"'(\[]*"
    r"([A-Za-z])(?![\w'+-])(?P<end>" + _END + r")",
    re.IGNORECASE,
)
_ENDS = re.compile(_END)
_MARKED = re.compile(chr(MARK) + _END)


def read_at_once(prepared: Prepared, options: Options) -> Resolved | None:
    """What a letter with signs about it, a letter with its own option's text, or one answer mark alone chooses."""
    text = prepared.text
    if len(text) > LONGEST or not options.wordy:
        return None
    if prepared.marks:
        if len(prepared.marks) > 1 or _MARKED.fullmatch(text) is None:
            return None
        same = resolve(prepared.marks[0], options, False)
        return Resolved(same.letters, "marked") if same is not None and same.letters else None
    found = _LETTER.match(text)
    if found is None:
        return None
    index = options.index_of(found[1])
    if index >= len(options):
        return None
    stop = found.end()
    if stop == len(text):
        return Resolved(LETTERS[index], "letter")
    own = options.lowered[index]
    apart = text[found.end(1) : stop].strip(" ")
    if apart and text[stop : stop + len(own)].lower() == own and _ENDS.fullmatch(text, stop + len(own)) is not None:
        return Resolved(LETTERS[index], "letter and text")
    return None
