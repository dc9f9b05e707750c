"""What a row of a file of answers says of its question: the options to choose from, and which answer is right."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any

from infimed_core import DataError

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LONGEST_LIST = 20_000
"""Letters of a list written as a text; a longer one is read as no list."""
_LABEL = re.compile(r"\s*[(\[]?(?P<letter>[A-Za-z])[.:)\]]\s+(?P<text>\S.*)", re.DOTALL)
_PLACE = re.compile("[0-9]{1,2}")
_MARK = re.compile(r"<image[^>]{0,20}>")


def options_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The options without their letters: of ``options`` or ``choices`` (a list, a map, a list written as a text), or of
    the columns ``A``, ``B`` and so on as far as they are filled; none where there are none, or what stands there is
    something else.
    """
    given = next((row[name] for name in ("options", "choices") if row.get(name) not in (None, "", [], {})), None)
    if isinstance(given, str):
        given = _written(given)
    if isinstance(given, Mapping):
        inner = given.get("text")  # as the hub's ARC has it, beside its labels
        given = inner if isinstance(inner, list) else [given[key] for key in sorted(given, key=str)]
    if given is None and not any(name in row for name in ("options", "choices")):
        given = _columns(row)
    if not isinstance(given, list | tuple) or not all(isinstance(one, str | int | float) for one in given):
        return ()
    return _without_letters([str(one).strip() for one in given])


def right_answer(gold: Any, options: Sequence[str], is_place: bool) -> str:
    """The accepted answer as ``letter. text`` of an option, or as it stands where there are no options.

    Args:
        gold: a letter, an option's text, several, or a place counted from 0 (``is_place``, or a number with options
            that are no such numbers themselves).

    Raises:
        DataError: it is none of these.
    """
    if isinstance(gold, list | tuple) and len(gold) == 1:
        gold = gold[0]
    if not isinstance(gold, str | int | float) or str(gold).strip() in ("", "nan"):
        raise DataError("no_answer", f"the accepted answer is {type(gold).__name__}, not one text or number")
    text = str(gold).strip()
    if not options:
        if text in LETTERS:
            raise DataError("no_options", f"the accepted answer is '{text}', and no options say what it stands for")
        return text
    if isinstance(gold, int) and not is_place and text in options and options[gold : gold + 1] != (text,):
        raise DataError("ambiguous_gold", f"the accepted answer {text} is an option, and may count options from 0")
    if _PLACE.fullmatch(text) and (is_place or text not in options):
        if int(text) >= len(options):
            raise DataError("no_answer", f"the accepted answer {text} is no place among {len(options)} options")
        return f"{LETTERS[int(text)]}. {options[int(text)]}"
    return text


def without_marks(text: str) -> str:
    """A question without the marks that say where its images stand."""
    return _MARK.sub(" ", text).strip()


def _written(text: str) -> Any:
    """The list or map that a text writes, in JSON or as Python prints it; ``None`` where it is none."""
    if len(text) > LONGEST_LIST:
        return None
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _columns(row: Mapping[str, Any]) -> list[str] | None:
    found = []
    for letter in LETTERS:
        text = str(row.get(letter, "") if row.get(letter) is not None else "").strip()
        if text in ("", "nan"):
            break
        found.append(text)
    return found if len(found) > 1 else None


def _without_letters(texts: Sequence[str]) -> tuple[str, ...]:
    """The texts without the labels A, B, C ... where every one carries its own."""
    found = [_LABEL.fullmatch(text) for text in texts]
    own = len(texts) > 1 and all(
        label is not None and place < len(LETTERS) and label["letter"].upper() == LETTERS[place]
        for place, label in enumerate(found)
    )
    return tuple(label["text"] if own and label else text for text, label in zip(texts, found, strict=True))
