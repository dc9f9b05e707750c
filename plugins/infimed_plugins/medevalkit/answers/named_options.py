"""Options as they are named in a text: by letter, by their own words, by both; each becomes one character."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from infimed_plugins.medevalkit.answers.equality import key
from infimed_plugins.medevalkit.answers.numbers import number_of
from infimed_plugins.medevalkit.answers.words import word_set

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NAME, LABEL = 0xE000, 0xE100
"""Where the characters begin that stand for an option's text, and for a letter that is surely a label."""

NAMES, LABELS = r"\ue000-\ue019", r"\ue100-\ue119"
_TOKEN = re.compile(
    r"[\u3400-\u9fff]|\d+(?:[.,]\d+)*|[^\W\d_\u3400-\u9fff][^\W_\u3400-\u9fff]*(?:'[^\W\d_]+)?|[<>≤≥±%+=]|"
    r"(?<![\w)])-(?=\d)"
)
_SIGNS = frozenset("<>≤≥±-")
_PREFIXES = word_set("non anti pseudo pre post hypo hyper un sub para neo extra intra")
_COMMON = word_set(
    "yes no maybe true false none both neither all other others unknown uncertain a an the it not i and "
    "or of is positive negative same 是 否 有 无 对 错 不 能 "
    "正确 错误 没有 存在 可能 不能 可以 以上 都是 都不 其他 正常 异常 阳性 阴性 不是 不变 升高 降低 增加 减少"
)
_OWN_LABEL = re.compile(r"\s*[(\[]?([A-Za-z])\s*[.:)\]、．：]\s*(?=\S)")
_ALSO = re.compile(r"\s*\(([^()]{2,60})\)\s*$")


def without_letters(options: Sequence[str]) -> tuple[str, ...]:
    """Option texts without the labels A, B, C ..., taken off only where every option carries its own."""
    found = [_OWN_LABEL.match(option) for option in options]
    own = all(m is not None and m[1].upper() == LETTERS[i] for i, m in enumerate(found)) and len(options) <= 26
    return tuple(o[m.end() :] if own and m else o for o, m in zip(options, found, strict=True))


@dataclass(frozen=True, eq=False)  # one object for each set of options, which is its own key in caches
class Options:
    """The options of one question, ready to be found in an answer."""

    texts: tuple[str, ...]
    keys: tuple[str, ...]
    by_key: dict[str, int]
    """Key -> index; -1 where two options have the same."""
    names: dict[str, list[tuple[tuple[str, ...], int]]] = field(compare=False)
    """First word -> (all words, index), the longest first; options too common to be looked for in prose are not in
    it."""
    longest: int
    """No answer that is equal to options has more characters."""
    longest_text: int
    """No answer that is equal to one option, with its letter, has more characters."""
    heads: frozenset[tuple[str, ...]]
    """Names that are what an option says before its place."""
    lowered: tuple[str, ...]
    first: tuple[str, ...]
    """Words of which any text that is equal to an option has one; none where no such words are known."""
    numbers: tuple[float, ...]
    """The options where each is another number; else none."""
    declining: bool
    """An option says what a refusal says ("Cannot be determined")."""
    wordy: bool
    """Every option begins with a word of two letters or more, so that no letter and no number is one."""

    def __len__(self) -> int:
        return len(self.texts)

    def may_equal(self, text: str) -> bool:
        """Whether a text may be equal to an option; ``False`` is sure, and found faster than the text's key."""
        if not self.first:
            return True
        low = text.casefold()
        return any(word in low for word in self.first)

    def index_of(self, letter: str) -> int:
        """Index of a letter; it may be beyond the options."""
        return LETTERS.index(letter.upper())


@lru_cache(maxsize=4096)
def prepare_options(options: tuple[str, ...]) -> Options:
    """The options with or without their own letters, normalised once."""
    texts = tuple(text.strip() for text in without_letters(options))
    keys = tuple(key(text) for text in texts)
    by_key: dict[str, int] = {}
    for index, text_key in enumerate(keys):
        if text_key:
            by_key[text_key] = -1 if text_key in by_key else index
    forms: dict[tuple[str, ...], int] = {}
    for index, text in enumerate(texts):
        for words in _forms(text):
            forms[words] = -1 if forms.get(words, index) != index else index
    names: dict[str, list[tuple[tuple[str, ...], int]]] = {}
    for index, text in enumerate(texts):  # "No, the image is normal" without its "No"
        head, comma, tail = text.partition(",")
        if comma and head.strip().lower() in ("yes", "no") and (tail_key := key(tail)) and len(tail_key.split()) > 1:
            by_key.setdefault(tail_key, index)
    for words, index in forms.items():
        if index >= 0 and _can_be_looked_for(words):
            names.setdefault(words[0], []).append((words, index))
    for found in names.values():
        found.sort(key=lambda item: -len(item[0]))
    longest = 200 + 2 * sum(len(text) for text in texts)
    longest_text = 40 + 2 * max((len(text) for text in texts), default=0)
    heads = frozenset(_words(text[: part.start()]) for text in texts if (part := _OF.search(text)) is not None)
    plain_texts = tuple(lowered(key_safe(text)) for text in texts)
    wordy = all(_WORDY.match(text_key) for text_key in keys)
    first = {text_key.partition(" ")[0] for text_key in by_key}
    known = tuple(first) if all(word.isascii() and word.isalpha() for word in first) else ()
    declining = any(_DECLINES.search(text) for text in texts)
    units = {_UNIT.sub("", text) for text in texts}
    bare = [text[: -len(next(iter(units)))] if len(units) == 1 and next(iter(units)) else text for text in texts]
    values = [number_of(text) if text[:1] in _NUMERAL else None for text in bare]
    numbers = tuple(value for value in values if value is not None)
    numbers = numbers if len(set(numbers)) == len(texts) else ()
    return Options(
        texts, keys, by_key, names, longest, longest_text, heads, plain_texts, known, numbers, declining, wordy
    )


_UNIT = re.compile(r"^[-+]?[\d.,]+(?= ?[A-Za-zµ%])|^.*[\d)]$|^[^\d].*$")
_NUMERAL = frozenset("0123456789.-+$")


_DECLINES = re.compile(
    r"\b(?:cannot|can't|can not|unable|not enough|insufficient|impossible|not possible)\b|无法|不能", re.I
)


_WORDY = re.compile(r"[^\W\d_][^\W\d_]|[\u3400-\u9fff]")


_OF = re.compile(r" (?:of|in) (?=the |a )")


def _forms(text: str) -> list[tuple[str, ...]]:
    """The words of an option, those without what stands in brackets, the brackets', and a genus with its initial."""
    found = [_words(text)]
    if also := _ALSO.search(text):
        found += [_words(text[: also.start()]), _words(also[1])]
    head, comma, tail = text.partition(",")
    if comma and head.strip().lower() in ("yes", "no"):
        found.append(_words(tail))
    elif comma and len(_words(head)) > 3:
        found.append(_words(head))  # "Mesothelioma of the left lower lobe, T2 N0 M0"
    if (part := _OF.search(text)) is not None and len(_words(text[: part.start()])) > 1:
        found.append(_words(text[: part.start()]))  # "Large cell carcinoma of the left hilum"
    plain_words = text.split()
    if len(plain_words) == 2 and plain_words[0].isalpha() and len(plain_words[0]) > 3 and plain_words[1].islower():
        found.append((plain_words[0][0].casefold(), *_words(plain_words[1])))
    return [words for words in found if words]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in (m.group().casefold() for m in _TOKEN.finditer(key_safe(text))) if word != "the")


def key_safe(text: str) -> str:
    """Folded and without form, as the text that is searched."""
    from infimed_plugins.medevalkit.answers.folding import fold
    from infimed_plugins.medevalkit.answers.form import plain

    return plain(fold(text))


def _can_be_looked_for(words: tuple[str, ...]) -> bool:
    if len(words) == 1:
        word = words[0]
        return len(word) > 1 and word not in _COMMON and not word[0].isdigit()
    if all("\u3400" <= word[0] <= "\u9fff" for word in words):
        return "".join(words) not in _COMMON
    return any(word not in _COMMON and not word[0].isdigit() and len(word) > 1 for word in words) or (
        len(words) > 2 or any(word in "<>≤≥%" for word in words)
    )


def lowered(text: str) -> str:
    """Lower case of the same length."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def mark_options(text: str, options: Options) -> str:
    """The text with options that are named by their own words, alone or with their letter, as one character."""
    return mark_names(mark_common(text, options), options)


def mark_names(text: str, options: Options) -> str:
    """The text with every naming of an option by its own words as one character; the longest option goes first."""
    low = lowered(text)
    found: list[tuple[int, int, int]] = []
    for first, candidates in options.names.items():
        at = low.find(first)
        while at >= 0:
            if _begins_word(low, at, first):
                for wanted, index in candidates:
                    stop = _match(low, at, wanted)
                    if stop and _whole(low, at, stop, wanted) and not _goes_on(low, stop, wanted, options):
                        found.append((at, -stop, index))
                        break
            at = low.find(first, at + len(first))
    if not found:
        return text
    parts, place = [], 0
    for start, stop, index in sorted(found):
        if start >= place:
            parts += [text[place:start], chr(NAME + index)]
            place = -stop
    return "".join([*parts, text[place:]])


@lru_cache(maxsize=4096)
def _common_with_letter(options: Options) -> re.Pattern[str] | None:
    """A letter with its own option's text, for the texts that are too common to be looked for alone ("B (False)")."""
    forms = [
        rf"(?P<o{index}>{LETTERS[index]}(?:\) ?|[.:,] ?| ?[-=] ?| ?\(){re.escape(text)}\)?)"
        for index, text in enumerate(options.texts[:26])
        if text.lower() in _COMMON and len(text) > 1
    ]
    return re.compile(rf"(?<![\w'])(?:{'|'.join(forms)})(?!\w)", re.IGNORECASE) if forms else None


def mark_common(text: str, options: Options) -> str:
    """The text with every letter that has its own option's common text beside it as one label."""
    pattern = _common_with_letter(options)
    if pattern is None:
        return text
    return pattern.sub(lambda found: chr(LABEL + int((found.lastgroup or "o0")[1:])), text)


def _goes_on(low: str, stop: int, wanted: tuple[str, ...], options: Options) -> bool:
    """Whether the head of an option ("large cell carcinoma") is followed by a place, which is another than its own."""
    return wanted in options.heads and low.startswith((" of ", " in "), stop)


def _begins_word(low: str, at: int, first: str) -> bool:
    if not at or "\u3400" <= first[0] <= "\u9fff":
        return True
    before = low[at - 1]
    if first[0] in _SIGNS or first[0] in "%+=":
        return True
    return (
        not (before.isalnum() or before in "'_")
        or "\u3400" <= before <= "\u9fff"
        or (first[0].isdigit() and before.isalpha() and False)
    )


def _match(low: str, at: int, wanted: tuple[str, ...]) -> int:
    """Where ``wanted`` ends in ``low`` from ``at``, articles and signs between skipped; 0 where it is not there."""
    stop = at
    for number, word in enumerate(wanted):
        token = _TOKEN.search(low, stop, stop + len(word) + 24)
        if token is not None and token.group() == "the" and word != "the":
            stop = token.end()
            token = _TOKEN.search(low, stop, stop + len(word) + 24)
        if token is None or token.group() != word or (number and token.start() - stop > 4):
            return 0
        stop = token.end()
    return stop


def _whole(low: str, at: int, stop: int, wanted: tuple[str, ...]) -> bool:
    """Whether what was found is not a part of another word, number or line."""
    last = low[stop : stop + 1]
    end = wanted[-1][-1]
    goes_on = bool(last) and (last.isalnum() or last == "_") and end.isalnum()
    if goes_on and not "\u3400" <= last <= "\u9fff" and not "\u3400" <= end <= "\u9fff":
        return False
    before = low[max(0, at - 6) : at].rstrip(" -")
    if (
        before
        and wanted[0] not in _SIGNS
        and (before[-1] in _SIGNS or (wanted[0][0].isdigit() and low[max(0, at - 1) : at] == "-"))
    ):
        return False
    if at and low[at - 1] in " -" and before.rpartition(" ")[2] in _PREFIXES:
        return False
    if last == "%" and wanted[-1] != "%":
        return False
    inside = low[at:stop]
    return "\n" not in inside and ". " not in inside.replace(f"{inside[:1]}. ", "", 1)


_BRACKETED = re.compile(r"[(\[] ?(?:option |choice )?([a-z])[.:]? ?[)\]]")
_WORDED = re.compile(
    r"(?:answer choice|answer option|option|choice|letter|statement|选项|选择) "
    r"?[\"'(\[]{0,2}([a-z])(?![a-z0-9_'])[\"')\]]{0,2}"
)
_QUOTED = re.compile(r"[\"']([a-z])[.]?[\"'](?!\w)")
_ITEMED = re.compile(r"(?<![a-z'])([a-z]) ?(?=选项|项)")
_NAME_AT = re.compile(rf"[{NAMES}]")
_LETTER_BEFORE = re.compile(
    rf"(?:(?<![\w'])([A-Za-z])|([{LABELS}]))(?:[)\]] ?)?(?:[.:,、)] ?| ?[-=] ?| ?\(| )?\n?[\"'(]?(?=[{NAMES}])"
)
_NAME_FIRST = re.compile(rf"([{NAMES}]) ?(?:\(|, ?|- ?|: ?)?([{LABELS}])")


def mark_labels(text: str, num_options: int) -> str:
    """The text with letters that are surely labels, and letters beside their own option's text, as one character."""
    low = lowered(text)
    spans: list[tuple[int, int, str]] = []
    if "(" in low or "[" in low:
        spans += [(m.start(), m.end(), m[1]) for m in _BRACKETED.finditer(low)]
    for word in ("answer choice", "answer option", "option", "choice", "letter", "statement", "选项", "选择"):
        at = low.find(word)
        while at >= 0:
            if (m := _WORDED.match(low, at)) is not None and _is_worded(low, m):
                spans.append((m.start(), m.end(), m[1]))
            at = low.find(word, at + 1)
    if '"' in low or "'" in low:
        spans += [
            (m.start(), m.end(), m[1]) for m in _QUOTED.finditer(low) if not low[m.start() - 1 : m.start()].isalnum()
        ]
    if "项" in low:
        spans += [(m.start(), m.end(), m[1]) for m in _ITEMED.finditer(low)]
    if spans:
        parts, place = [], 0
        for start, end, letter in sorted(spans):
            if start >= place:
                parts += [text[place:start], chr(LABEL + ord(letter) - 97)]
                place = end
        text = "".join([*parts, text[place:]])
    if text.isascii():
        return text
    text = _with_letters(text)
    return _NAME_FIRST.sub(lambda found: found[2] if ord(found[1]) - NAME == ord(found[2]) - LABEL else found[0], text)


def _is_worded(low: str, found: re.Match[str]) -> bool:
    """Whether the letter after "option" or its like is one: no article ("option a patient has")."""
    start, end = found.start(), found.end()
    if start and low[start - 1].isalpha() and low[start - 1].isascii() and low[start].isascii():
        return False
    return not (
        found[1] in "ai"
        and low[end : end + 1] == " "
        and low[end + 1 : end + 2].isalpha()
        and low[end - 1].isalpha()
        and low[end + 1 : end + 4]
        not in ("is ", "and", "or ", "was", "as ", "bec", "wou", "in ", "for", "cor", "inc", "des", "can", "has")
    )


def _with_letters(text: str) -> str:
    """The text with a letter right before its own option's text, and that text, as one label."""
    parts, place = [], 0
    for found in _NAME_AT.finditer(text):
        at = found.start()
        letter = _LETTER_BEFORE.search(text, max(place, at - 8), at + 1)
        if letter is None:
            continue
        index = ord(letter[1].upper()) - 65 if letter[1] else ord(letter[2]) - LABEL
        if index == ord(found.group()) - NAME:
            parts += [text[place : letter.start()], chr(LABEL + index)]
            place = at + 1
            if text[place : place + 1] in ('"', "'", ")"):
                place += 1
    return "".join([*parts, text[place:]])


def unmark(text: str, options: Options) -> str:
    """The text for people, with letters and option texts where the marks stand."""
    if text.isascii():
        return text
    for index, option in enumerate(options.texts[:26]):
        text = text.replace(chr(NAME + index), option).replace(chr(LABEL + index), f"({LETTERS[index]})")
    return re.sub(r"[\ue000-\uf8ff]", "?", text)
