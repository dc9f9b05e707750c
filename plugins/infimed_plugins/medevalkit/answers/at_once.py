"""Answers of a letter and little else, which are read at a glance; all the rules would read them alike."""

from __future__ import annotations

import re

from infimed_plugins.medevalkit.answers.equality import ENDING
from infimed_plugins.medevalkit.answers.named_options import LETTERS, Options
from infimed_plugins.medevalkit.answers.prepared import MARK, Prepared
from infimed_plugins.medevalkit.answers.resolving import Resolved, resolve

LONGEST = 200
_LETTER = re.compile(
    r"[\"'(\[ ]*(?:(?:the |my )?(?:(?:final|correct|best|right) )*(?:answer|option|choice)(?: is| would be)? ?:? ?|"
    r"i (?:would )?(?:choose|pick|select)(?: option)? |i'd go with (?:option )?|it's |it is |"
    r"(?:正确|最终)?答案 ?[是为:]? ?|选项? ?)?[\"'(\[]*"
    r"([A-Za-z])(?![\w'+-])(?P<end>" + ENDING + r")",
    re.IGNORECASE,
)
_ENDS = re.compile(ENDING)
_MARKED = re.compile(chr(MARK) + ENDING)


_SAYS = re.compile(r"[^\W\d_]")


def read_at_once(prepared: Prepared, options: Options) -> Resolved | None:
    """What a letter with signs about it, a letter with its own option's text, or one answer mark alone chooses."""
    text = prepared.text
    if len(text) > LONGEST or not options.wordy:
        return None
    if not prepared.marks:
        same = _at_a_glance(text, options)
        return None if same is not None and prepared.cut and not same.letters else same
    if len(prepared.marks) > 1 or _MARKED.fullmatch(text) is None:
        return None
    content = prepared.marks[0]
    same = _at_a_glance(content, options) or resolve(content, options, False)
    return Resolved(same.letters, "marked") if same is not None and same.letters else None


def _at_a_glance(text: str, options: Options) -> Resolved | None:
    found = _LETTER.match(text)
    if found is None:
        return None if _SAYS.search(text) else Resolved("", reason="unreadable")
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
