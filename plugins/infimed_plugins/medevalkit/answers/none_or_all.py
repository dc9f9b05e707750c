"""Options that speak of the others ("none of the above", "all of these"), said in other words than their own."""

from __future__ import annotations

import re

from infimed_plugins.medevalkit.answers.named_options import LETTERS, Options
from infimed_plugins.medevalkit.answers.open_answers import after_label

_THEM = r"(?:above|options?|choices?|answers?|them|these|those|listed)"
_OF_ALL = (
    re.compile(
        rf"^\W*(?:(?:none|neither)(?: of)?(?: the| these| those)?(?: given| listed| provided)?(?: {_THEM})?|"
        rf"no correct "
        rf"(?:answer|option)|not listed|以上(?:选项)?(?:都不|均不|皆不|全不)(?:是|对|正确)?|都不(?:是|对|正确))"
        rf"(?: (?:is|are|fits?|match(?:es)?|applies|apply)(?: correct| right)?| provided| given| listed)?\W*$",
        re.IGNORECASE,
    ),
    re.compile(
        rf"^\W*(?:(?:all|every one)(?: of)?(?: the| these| those)?(?: {_THEM})|(?:以上|全部|所有)?(?:选项)?(?:都|均|皆|"
        rf"全部?)(?:是|对|正确|选)的?|以上所有|全选)"
        rf"(?: (?:are|is)(?: all)? (?:correct|right|true)| apply)?\W*$",
        re.IGNORECASE,
    ),
)
"""What says that no option holds, and that all do."""


_BUT = re.compile(
    rf"^\W*(?:(?:it'?s|it is|they are) )?(?:all|everything|every(?: one)?|each|any)(?: of)?(?: the| these| those)?"
    rf"(?: (?:{_THEM}|statements?))?(?: (?:is|are|holds?|appl(?:y|ies)|fits?)(?: (?:true|correct|right))?)?,? "
    rf"(?:except|but|apart from|other than|excluding|save)(?: for)? "
    rf"(?:option |choice |answer )?\W{{0,3}}(?P<but>[A-Za-z])"
    rf"(?: (?:is|are) (?:true|correct|right))?\W*$",
    re.IGNORECASE,
)
"""All of them but one."""


def none_or_all(text: str, options: Options, multiple: bool = False, negative: bool = False) -> str:
    """The letter of the one option that says that none, or all, of the others hold, where the answer says so too.

    Where several letters may be chosen and no option says so, "all of them" is every letter, and "all but D" every
    other; where one may, "all but D" is D if the question asks for what does not hold (``negative``).
    """
    lines = (after_label(text), text, *text.strip().rsplit("\n", 1)[-1:])
    but = next((found["but"].upper() for line in lines if (found := _BUT.match(line))), "")
    if but and but in LETTERS[: len(options)] and (multiple or negative):
        return but if not multiple else LETTERS[: len(options)].replace(but, "")
    for pattern in _OF_ALL:
        saying = [index for index, option in enumerate(options.texts) if pattern.match(option)]
        if len(saying) == 1 and any(pattern.match(line) for line in lines):
            return LETTERS[saying[0]]
    if multiple and not any(pattern.match(text) for pattern in _OF_ALL for text in options.texts):
        return LETTERS[: len(options)] if any(_OF_ALL[1].match(line) for line in lines) else ""
    return ""
