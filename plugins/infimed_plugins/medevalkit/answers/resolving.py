"""What is equal to an option: its letter, its text, both with whatever sign between, or several of these."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import lru_cache
from typing import NamedTuple

from infimed_plugins.medevalkit.answers.equality import EDGES, key_of_plain
from infimed_plugins.medevalkit.answers.named_options import LETTERS, Options
from infimed_plugins.medevalkit.answers.numbers import number_of, numbers_in


class Resolved(NamedTuple):
    """What a text that should be an answer and nothing else stands for: letters, or why it stands for none."""

    letters: str
    how: str = ""
    reason: str = ""


_ALONE = re.compile(
    r"^[\s\"'(\[{<*_.:-]*(?:(?:the |an? )?(?:correct |final |best )?(?:answer|option|choice|letter|选项?|选择|"
    r"答案)\s?(?:is|:|是|为)?\s?)*[\s\"'(\[{<*_:]*([A-Z])[\s\"')\]}>*_.,;:!。、]*(?:项|选项)?[\s.。]*$",
    re.IGNORECASE,
)
_THEN = re.compile(
    r"^[\s\"'(\[{<]*(?:(?:option|choice|选项?|answer)\s?:?\s?)?([A-Z])((?:[^\w<>±≤≥%+\n-]|"
    r"-(?!\d))*\n?[\s\"'(]*)(?=\S)",
    re.IGNORECASE,
)
_SEPARATOR = r"\s?(?:,?\s?\band\b|,?\s?\bor\b|,|、|;|/|&|\+|\s(?:und|et|y|и)\s|和|与|及|以及|或)\s?(?:\band\b\s?)?"
_SET = re.compile(
    r"^[\s\"'(\[{<]*(?:both |all of )?(?:(?:the |both )?(?:correct |right )?(?:options?|choices?|answers?|"
    r"letters?|选项?|答案)\s?(?:are|is|:|是|为)?\s?)*"
    rf"[\"'(\[]*[A-Z][\"')\].]*(?:{_SEPARATOR}(?:options? )?[\"'(\[]*[A-Z][\"')\]]*)+[\s\"')\]}}>.,;:!。]*"
    r"(?:(?:are|is)? ?(?:both |all )?(?:correct|right|true)|(?:均|都)?(?:正确|对|是正确的))?[\s.。]*$",
    re.IGNORECASE,
)
_RUN = re.compile(
    r"^[\s\"'(\[{<]*(?:(?:answers?|options?|选项?|答案)\s?(?:are|is|:|是|为)?\s?)*([A-Z]{2,10})[\s\"')\]}>.。]*"
    r"(?:(?:are|is)? ?(?:both |all )?(?:correct|right|true)|(?:项|选项)?(?:均|都|全部?)?是?(?:正确|对)的?)?[\s.。]*$"
)
_SPACED = re.compile(r"[A-Z](?: +[A-Z])+")
_RUN_ANY = re.compile(_RUN.pattern, re.IGNORECASE)
_SINGLE = re.compile(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z'])")


@lru_cache(maxsize=8192)  # a line is looked at by several rules
def resolve(text: str, options: Options, multiple: bool) -> Resolved | None:
    """What is equal to a letter, an option's text, a letter with that option's own text, or several of these."""
    text = text.strip()
    if not text or len(text) > options.longest:
        return None
    bare = text.strip(EDGES + "<>-")
    if len(bare) == 1 and bare.isascii() and bare.isalpha():
        at = options.index_of(bare)
        if at < len(options):
            if options.by_key.get(bare.lower(), at) != at:  # the letter of one option, and the text of another
                return Resolved("", reason="several_answers")
            return Resolved(LETTERS[at], "letter")
    elif _labelled(bare) and (found := _with_text(text, options)) is not None:
        return found
    short = len(text) <= options.longest_text and options.may_equal(text)
    index = options.by_key.get(key_of_plain(text)) if short else None
    if index is not None:
        return Resolved(LETTERS[index], "option text") if index >= 0 else Resolved("", reason="several_answers")
    if options.numbers and (equal := _equal_number(text, options)) is not None:
        return Resolved(LETTERS[equal], "option text")
    if len(bare) == 1:
        return Resolved("", reason="no_such_option") if bare.isascii() and bare.isalpha() else None
    if len(text) <= 60 and (alone := _ALONE.match(text)) is not None:
        at = options.index_of(alone[1])
        return Resolved(LETTERS[at], "letter") if at < len(options) else Resolved("", reason="no_such_option")
    if bare[1:2].isdigit() and (found := _with_text(text, options)) is not None:
        return found
    return _several(text, options, multiple)


def _labelled(bare: str) -> bool:
    return len(bare) > 1 and bare[0].isascii() and bare[0].isalpha() and not bare[1].isalpha()


def _with_text(text: str, options: Options) -> Resolved | None:
    """A letter and an option's text, whatever sign stands between."""
    short = len(text) <= options.longest_text and options.may_equal(text)
    then = _THEN.match(text) if short else None
    if then is None:
        return None
    at = options.index_of(then[1])
    rest = text[then.end() - (text[then.end() - 1] == ".") :]  # ".4"
    rest_key = key_of_plain(rest)
    if at < len(options) and options.numbers and _equal_number(rest, options) == at:
        return Resolved(LETTERS[at], "letter and text")
    if at >= len(options) or rest_key not in options.by_key:
        return None
    if options.keys[at] == rest_key:
        return Resolved(LETTERS[at], "letter and text")
    return Resolved("", reason="contradiction") if then[2].strip(" ") else None


def _equal_number(text: str, options: Options) -> int | None:
    value = number_of(text.strip(" ()$")) if len(text) < 40 else None
    return options.numbers.index(value) if value in options.numbers else None


_PRONOUN = re.compile(
    r"\bone (?:might|may|could|would|can|should|must|has|of)\b|\b(?:the|this|that|no|any|which|every) one\b",
    re.IGNORECASE,
)


def option_of_number(text: str, options: Options) -> int | None:
    """The option that is the one number that a short text says, where all options are numbers."""
    if not options.numbers or len(text) > 200 or not options.texts[0][-1:].isdigit():
        return None
    said = set(numbers_in(_PRONOUN.sub("", text)))
    return options.numbers.index(said.pop()) if len(said) == 1 and said <= set(options.numbers) else None


_WITH_TEXT = re.compile(r"[(\[]?([A-Za-z])[)\].:]{1,2} ?([^\n]{4,200})")
_NEARLY, _APART = 0.88, 0.1
"""How alike a text and an option are that differ in a slip of the pen, and how much less alike all others."""


def nearly_own_text(text: str, options: Options) -> int | None:
    """The option whose letter stands before its own text with a letter more or less ("B. arteriolar constriction")."""
    found = _WITH_TEXT.fullmatch(text)
    index = options.index_of(found[1]) if found else len(options)
    if found is None or index >= len(options):
        return None
    said = key_of_plain(found[2])
    alike = [SequenceMatcher(None, said, own, autojunk=False).ratio() for own in options.keys]
    others = [one for place, one in enumerate(alike) if place != index]
    return index if alike[index] >= _NEARLY and alike[index] - max(others, default=0.0) >= _APART else None


def option_of_order(text: str, options: Options) -> int | None:
    """The option that puts the same numbers in the order of a short text ("First 2, then 1, then 3 and last 4")."""
    if len(text) > 200:
        return None
    orders = [tuple(_NUMBER.findall(own)) for own in options.texts]
    if len(orders[0]) < 3 or len({tuple(sorted(order)) for order in orders}) > 1 or len(set(orders)) < len(orders):
        return None
    said = tuple(_NUMBER.findall(text))
    return orders.index(said) if said in orders else None


_NUMBER = re.compile("[0-9]{1,3}")


def _several(text: str, options: Options, multiple: bool) -> Resolved | None:
    letters: list[str] = []
    short = len(text) <= 200
    if short and len(_SINGLE.findall(text)) > 1 and _SET.match(text):
        body = re.sub(
            r"\b(?:and|und|et|y|и|or|are|is|both|all|the|options?|choices?|answers?|letters?|correct|right|true)\b",
            " ",
            text,
            flags=re.I,
        )
        letters = _SINGLE.findall(body)
        if re.search(r"\bor\b|或", text, re.IGNORECASE):
            return Resolved("", reason="several_answers")
    elif short and (run := (_RUN_ANY if multiple else _RUN).match(text)):
        letters = list(run[1])
        folded = [letter.upper() for letter in letters]
        plausible = len(set(folded)) == len(folded) and max(folded) < LETTERS[min(len(options), 25)]
        if not plausible or (not run[1].isupper() and folded != sorted(folded)):
            return None
    elif multiple and short and _SPACED.fullmatch(text.strip(EDGES)):
        letters = _SINGLE.findall(text)
    elif "\n" in text:
        return _lines(text, options, multiple)
    if not letters:
        return None
    return set_of([options.index_of(letter) for letter in letters], options, multiple)


def _lines(text: str, options: Options, multiple: bool) -> Resolved | None:
    """Lines that are all letters or options; all options in their order only repeat the question."""
    found: list[int] = []
    for line in text.split("\n"):
        if not line.strip(EDGES):
            continue
        one = resolve(line, options, multiple=False)
        if one is None or not one.letters:
            return None
        found.append(options.index_of(one.letters))
    if len(found) < 2 or found == list(range(len(options))):
        return None
    return set_of(found, options, multiple)


def set_of(indices: list[int], options: Options, multiple: bool) -> Resolved:
    """Several letters as one answer where the question allows them."""
    if any(index >= len(options) for index in indices):
        return Resolved("", reason="no_such_option")
    letters = "".join(sorted({LETTERS[index] for index in indices}))
    if len(letters) > 1 and not multiple:
        return Resolved("", reason="several_answers")
    return Resolved(letters, "letters" if len(letters) > 1 else "letter")
