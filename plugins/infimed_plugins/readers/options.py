"""The options of a question, without their letters, and which of them an answer names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from infimed_core import DataError, Sample
from infimed_plugins.readers.values import known, listed, natural, text_of

OPTIONS = ("options", "choices")
FORMS = ("option_{}", "option {}", "option{}", "choice {}", "choice_{}", "choice{}", "op{}", "{}")
"""Names of a column for each option, by its letter or its number from 1."""
MOST_OPTIONS = 10
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LABEL = re.compile(r"\s*[(\[（【]?\s*([A-Za-z])\s*[.:)\]、．：）】]\s*(?=\S)")
_SEVERAL = re.compile(r"\(?[A-Za-z]\)?(?:\s*(?:[,;/&+]|and|or)?\s*\(?[A-Z]\)?)+\.?")
_ALONE = re.compile(r"\s*[(\[（【]?\s*([A-Za-z])\s*[.:)\]、．：）】]?\s*")


def read_options(given: Any) -> tuple[str, ...]:
    """The texts of a list, of a map of letters or numbers, or of a text that writes one of these; without letters.

    Raises:
        DataError: ``bad_row``: it is none of these, or an option is empty and one behind it is not.
    """
    given = known(given)
    if isinstance(given, str):
        given = _written(given)
    if isinstance(given, Mapping):
        given = _in_order(given)
    if given is None:
        return ()
    if not isinstance(given, (list, tuple)):
        raise DataError("bad_row", f"options must be a list of texts, not {type(given).__name__}")
    if given and all(isinstance(option, Mapping) and {"key", "value"} <= option.keys() for option in given):
        given = _in_order({str(option["key"]): option["value"] for option in given})
    return listed_options(given)


def listed_options(values: Sequence[Any]) -> tuple[str, ...]:
    """The options in the order of their letters; those that are empty at the end are left out.

    Raises:
        DataError: ``bad_row``: one is empty and one behind it is not, so that letters would move up; or one is no text.
    """
    texts = [text_of(value, f"option {letter_of(place)}").strip() for place, value in enumerate(values)]
    while texts and not texts[-1]:
        texts.pop()
    if "" in texts:
        letter = letter_of(texts.index(""))
        raise DataError("bad_row", f"option {letter} is empty and one behind it is not, so that letters would move up")
    return without_letters(texts)


def without_letters(texts: Sequence[str]) -> tuple[str, ...]:
    """The texts without the labels A, B, C ... where every one carries its own; "C. difficile" alone carries none."""
    found = [_LABEL.match(text) for text in texts]
    own = len(texts) > 1 and all(
        label is not None and label[1].upper() == letter_of(place) for place, label in enumerate(found)
    )
    return tuple(text[label.end() :] if own and label else text for text, label in zip(texts, found, strict=True))


def place_of(answer: str, options: Sequence[str], keys: Sequence[str] = ()) -> int | None:
    """Which option an answer names: by its text, its letter, both, or the source's own key; ``None`` where none.

    Raises:
        DataError: ``bad_row``: it names two, as the text of one and the letter of another.
    """
    plain = [_plain(option) for option in options]
    places = {place for place, text in enumerate(plain) if text == _plain(answer)}
    if (alone := _ALONE.fullmatch(answer)) and alone[1].upper() in LETTERS[: len(options)]:
        places.add(LETTERS.index(alone[1].upper()))
    places |= {place for place, key in enumerate(keys) if key == answer.strip()}
    if not places and (label := _LABEL.match(answer)):
        place = LETTERS.index(label[1].upper())
        if place < len(options) and plain[place] == _plain(answer[label.end() :]):
            places.add(place)
    if len(places) > 1:
        named = " and ".join(letter_of(place) for place in sorted(places))
        raise DataError("bad_row", f"the answer {answer!r} may be option {named}; write letter and text")
    return places.pop() if places else None


def with_options(sample: Sample) -> Sample:
    """The sample with its options under the question and their texts in the answer, where that is letters alone.

    A letter is learned from nothing where the question does not say what it stands for.

    Raises:
        DataError: ``bad_row``: a letter or number that is none of the options', or text of one and letter of another.
    """
    if not sample.options or len(sample.turns) < 2 or sample.turns[-1].role != "assistant":
        return sample
    *before, asked, last = sample.turns
    answer, texts = last.text.strip(), without_letters(sample.options)
    if answer.isdecimal() and len(answer) < 3 and all(_plain(text) != answer for text in texts):
        raise DataError("bad_row", f"the answer {answer!r} is a number and no option; write its letter or text")
    if asked.role != "user" or not (_ALONE.fullmatch(answer) or _SEVERAL.fullmatch(answer)):
        return sample
    if all(_plain(text) in _plain(asked.text) for text in texts) and any(len(text) > 1 for text in texts):
        return sample
    letters = _letters_in(answer, texts)
    if not letters:
        return sample
    places = [place_of(letter, texts) for letter in letters]
    named = [f"{letter_of(place)}. {texts[place]}" for place in places if place is not None]
    if len(named) < len(places):
        raise DataError("bad_row", f"the answer {answer!r} is none of the {len(texts)} options")
    lettered = "".join(f"\n{letter_of(place)}. {text}" for place, text in enumerate(texts))
    turns = (
        *before,
        asked.model_copy(update={"content": (*asked.content, lettered)}),
        last.model_copy(update={"content": ("; ".join(named),)}),
    )
    return sample.model_copy(update={"turns": turns, "references": sample.references or (answer,)})


def _letters_in(answer: str, texts: Sequence[str]) -> list[str]:
    """The letters that an answer is made of; none where it is a word in capitals, such as CT, or an option itself."""
    if _ALONE.fullmatch(answer):
        return [answer]
    words = [word for word in re.findall("[A-Za-z]+", answer) if word not in ("and", "or")]
    if _plain(answer) in map(_plain, texts):
        return []
    if all(len(word) == 1 for word in words):
        return words
    places = [place_of(letter, texts) for letter in words[0]]
    known_places = [place for place in places if place is not None]
    is_list = len(words) == 1 and len(known_places) == len(places) and sorted(set(known_places)) == places
    return list(words[0]) if is_list else []


def columns_of_options(there: Collection[str]) -> Iterator[list[str]]:
    """Names of columns, in small letters, that may hold an option each: every way of calling them that is there."""
    for form in FORMS:
        for marks in ([letter_of(place).lower() for place in range(MOST_OPTIONS)], list(map(str, range(1, 11)))):
            names = [form.format(mark) for mark in marks]
            if names[0] in there and names[1] in there and (form != "{}" or marks[0] == "a"):
                yield [name for name in names if name in there]


def refuse_unread(row: Mapping[str, Any], sample: Sample, advice: str, ignore: Collection[str] = ()) -> None:
    """Look for options that nothing reads, beside an answer that is the letter or the number of one of them.

    Raises:
        DataError: ``unsupported_field``: there are; the letter would be learned from nothing.
    """
    if sample.options or len(sample.turns) < 2 or sample.turns[-1].role != "assistant":
        return
    answer = sample.turns[-1].text.strip()
    if not (_ALONE.fullmatch(answer) or _SEVERAL.fullmatch(answer) or (answer.isdecimal() and len(answer) < 3)):
        return
    lower = {str(name).lower(): name for name in row if name not in ignore}
    found = [[name] for name in OPTIONS if name in lower]
    found += [] if answer.isdecimal() else list(columns_of_options(lower.keys()))
    asked = _plain(" ".join(turn.text for turn in sample.turns[:-1]))
    for names in found:
        texts = _texts_of([row[lower[name]] for name in names])
        is_key = answer.isdecimal() or bool(_letters_in(answer, texts))
        if texts and is_key and not all(text in asked for text in texts) and _plain(answer) not in texts:
            told = ", ".join(lower[name] for name in names)
            raise DataError(
                "unsupported_field",
                f"the answer {answer!r} stands for an option, and '{told}' is not read; {advice}, or set ignore: "
                f"[{told}] to learn the answer as it is",
            )


def _texts_of(values: Sequence[Any]) -> list[str]:
    """The texts of options in a cell, or in a cell each, as far as there are any; prose and numbers are none."""
    if len(values) == 1:
        try:
            values = read_options(values[0])
        except DataError:
            return []
    texts = [_plain(value) for value in map(known, values) if isinstance(value, str) and value.strip()]
    return texts if len(texts) > 1 else []


def keys_of(given: Any) -> tuple[str, ...]:
    """The source's own names of the options in their order, where it has any that are no letters."""
    given = known(given)
    if isinstance(given, str):
        try:
            given = _written(given)
        except DataError:
            return ()
    names = sorted(map(str, given), key=natural) if isinstance(given, Mapping) else []
    return tuple(names) if names and not all(_is_letter(name) for name in names) else ()


def letter_of(place: int) -> str:
    """A for the first, B for the second; behind Z a number."""
    return LETTERS[place] if place < len(LETTERS) else str(place + 1)


def _written(text: str) -> Any:
    """The list or map that a text writes, in JSON or as Python prints it."""
    stripped = text.strip()
    if not stripped:
        return None
    if stripped[0] in "[{(":
        found = listed(stripped)
        if isinstance(found, (list, tuple, dict)) and len(found) != 1:  # "['a' 'b']" of numpy is one text to Python
            return found
    raise DataError("bad_row", 'options must hold a list, as in ["axial", "coronal"]; or name a column each')


def _in_order(given: Mapping[Any, Any]) -> list[Any]:
    """The values of a map in the order of its keys; a letter that it leaves out is an empty option."""
    by_key = {str(key).strip(): value for key, value in given.items()}
    if by_key and all(_is_letter(key) for key in by_key):
        by_letter = {key.upper(): value for key, value in by_key.items()}
        if len(by_letter) == len(by_key):
            last = max(LETTERS.index(letter) for letter in by_letter)
            return [by_letter.get(letter) for letter in LETTERS[: last + 1]]
    return [by_key[key] for key in sorted(by_key, key=natural)]


def _is_letter(key: str) -> bool:
    return len(key) == 1 and key.upper() in LETTERS


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")
