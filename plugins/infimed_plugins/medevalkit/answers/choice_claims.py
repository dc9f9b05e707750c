"""What an answer claims at one place: a letter, a list of letters, an option's text, or that none fits."""

from __future__ import annotations

import re

from infimed_plugins.medevalkit.answers.choice_cues import AFTER_BARE, ENDS, INITIAL, ITEM, MORE, OPENERS, STARTERS
from infimed_plugins.medevalkit.answers.context_modifiers import denied_after
from infimed_plugins.medevalkit.answers.equality import EDGES, key_of_plain
from infimed_plugins.medevalkit.answers.named_options import LABEL, LETTERS, NAME, Options
from infimed_plugins.medevalkit.answers.numbers import number_of
from infimed_plugins.medevalkit.answers.refusals import NO_CHOICE
from infimed_plugins.medevalkit.answers.resolving import resolve, set_of


def index_of(item: str) -> int:
    """Which option a mark or a letter stands for; it may be beyond the options."""
    code = ord(item)
    if code >= LABEL:
        return code - LABEL
    return code - NAME if code >= NAME else ord(item.upper()) - 65


def is_label(low: str, start: int, end: int) -> bool:
    """Whether the letter at ``start`` stands as a label: no article ("a clot"), pronoun ("I think") or initial ("E.
    coli")."""
    if ord(low[start]) >= NAME:
        return True
    if not AFTER_BARE.match(low, end) or low[end : end + 1] in _TYPES or low[start : start + 3] in ("i.e", "e.g"):
        return False
    if (initial := INITIAL.match(low, end)) is not None and initial[1] not in STARTERS:
        return False
    if low[start] in "ai" and _NO_LABEL_A.match(low, end):
        return False
    return not (low[start] == "i" and _NO_LABEL_I.match(low, end))


_TYPES = tuple("型类族级期组群超链波线区段")
"""What makes a letter before it a name in Chinese ("A型流感")."""
_NO_LABEL_A = re.compile(
    r" (?!#\d|\[\d|because|since|as\b|for\b|due\b|which|is\b|and\b|or\b|not\b|rather|over\b|\(|with\b|based|given)"
)
_NO_LABEL_I = re.compile(r" (?:is|was|as|for|with|over|not|given|based|that|would|and)\b")
_ITEM_AT = re.compile(ITEM)


def read_claim(text: str, low: str, at: int, options: Options, multiple: bool) -> tuple[int, str, str] | None:
    """What is claimed from ``at`` on: (end, letters, reason), or ``None`` where nothing about the options is."""
    at = OPENERS.match(low, at).end()  # type: ignore[union-attr]
    found = _ITEM_AT.match(low, at)
    if found is not None and is_label(low, at, found.end()):
        return _items(text, low, at, options, multiple)
    line_end = text.find("\n", at)
    line = text[at : line_end if line_end >= 0 else len(text)][:400]
    if not line.strip(EDGES + "$\\-_"):
        return (at, "", "no_option") if "_" in line or "$" in line else None
    for part in _parts(line):
        if (same := resolve(part, options, multiple)) is not None:
            return at + len(part), same.letters, same.reason
    if NO_CHOICE.match(line) and not _PRIVATE.search(line):
        return at + len(line), "", "no_option"
    return None


_PRIVATE = re.compile(r"[\ue000-\uf8ff]")
_PART_ENDS = (
    re.compile(r"[.!?](?=\s|$)|[;。；]"),
    re.compile(r"[.!?](?=\s|$)|[,;:。(—–]| - | (?:because|since|as|due|which)\b"),
)


def _parts(line: str) -> list[str]:
    """The line, its first sentence, its first clause."""
    found = [line]
    for ends in _PART_ENDS:
        stop = ends.search(line)
        if stop is not None and line[: stop.start()].strip() and line[: stop.start()] != found[-1]:
            found.append(line[: stop.start()])
    return found


def _items(text: str, low: str, at: int, options: Options, multiple: bool) -> tuple[int, str, str] | None:
    """One item, or a list of items that ends like a list; ``None`` for a list that is denied as a whole."""
    indices, end, either = [index_of(low[at])], at + 1, False
    more = MORE.match(low, end)
    while more is not None and len(indices) < 26:
        if not is_label(low, more.start("item"), more.end()):
            break
        if not more["deny"]:
            indices.append(index_of(more["item"]))
            either = either or bool(re.search(r"\bor\b|或|/", more.group()))
        end = more.end()
        more = MORE.match(low, end)
    if len(indices) > 1:
        if denied_after(low[end : end + 90]):
            return None
        if ENDS.match(low, end):
            if either:
                return end, "", "several_answers"
            several = set_of(indices, options, multiple)
            return end, several.letters, several.reason
        if not multiple and len(set(indices)) > 1 and not re.match(r" (?:is|are|was|would|can|do)", low[end : end + 8]):
            return end, "", "several_answers"
        indices, end = indices[:1], at + 1
    index = indices[0]
    if index >= len(options):
        return end, "", "no_such_option"
    own_text = NAME <= ord(low[at]) < LABEL
    another = not own_text and options.by_key.get(LETTERS[index].lower(), index) != index
    if another and not _is_as_asked(low, at, index, options):
        return end, "", "several_answers"
    if _names_another(text, at, end, index, options):
        return end, "", "contradiction"
    return end, LETTERS[index], ""


def _is_as_asked(low: str, at: int, index: int, options: Options) -> bool:
    """Whether a letter is the one that was asked for, where the text of every option is a letter too.

    It is not where the text calls the label in the picture by it ("label E is the sheath. Answer: E").
    """
    if any(len(text) != 1 for text in options.keys) or not _AS_ASKED.search(low, max(0, at - 24), at):
        return False
    small = LETTERS[index].lower()
    forms = f"{small}{chr(LABEL + index)}{chr(NAME + max(0, options.by_key.get(small, index)))}"
    return re.search(rf"\blabel\w*(?: as)?[\s*\"'(:]+[{forms}](?!\w)", low) is None


_AS_ASKED = re.compile(r"\b(?:answer|option|choice|letter)(?: is)?[\s:*(\"']*$")
_BRACKET = re.compile(r" ?\(([^()\n]{1,300})\)")
_SIGN = re.compile(r"[\"')\]}]*\s?(?:\.(?!\d)|[:,)\-–—=]){0,2}\s?[\"'(]*")


def _names_another(text: str, at: int, end: int, index: int, options: Options) -> bool:
    """Whether the letter is followed at once by another option's text, as if that were its own."""
    if NAME <= ord(text[at]) < LABEL:
        return False
    bracket = _BRACKET.match(text, end)
    sign = _SIGN.match(text, end)
    rest = bracket[1] if bracket else text[sign.end() if sign else end :].split("\n", 1)[0][:400]
    minus = sign is not None and sign.group().rstrip(" ").endswith("-")  # a dash, or the sign of what follows
    for part in (rest, *_parts(rest)[1:2]):
        part = part.strip()
        if minus and options.keys[index] == key_of_plain("-" + part):
            return False
        if len(part) == 1 and NAME <= ord(part) < LABEL:
            return ord(part) - NAME != index
        if len(part.strip(EDGES)) == 1 and part.strip(EDGES).isalpha() and not bracket:
            return False
        other = resolve(part, options, False)
        value = number_of(part.rstrip("%")) if part[:1].isdigit() else None
        own = number_of(options.texts[index].rstrip("%")) if value is not None else None
        if value is not None and own is not None and own not in (value, -value if minus else value):
            return True
        if other is not None and other.letters and other.how == "option text":
            return other.letters != LETTERS[index]
    return False
