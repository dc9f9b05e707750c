"""Reading a multiple-choice response: letters in every common form, option texts, Chinese; never guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from infimed_plugins.medevalkit.choice_forms import (
    ANY_LETTER,
    ARTICLE,
    DENIAL,
    EPITHET,
    LABEL,
    LETTERED_NAME,
    LETTERS,
    SENTENCE_END,
    Forms,
    forms,
)
from infimed_plugins.medevalkit.mentions import mentioned, partly_named
from infimed_plugins.medevalkit.reading import clean, final_answer, is_refusal, normalise


@dataclass(frozen=True)
class Choice:
    """The letters read (in order, without repeats), or none with the reason why; ``how`` names the rule."""

    letters: str
    reason: str = ""
    how: str = ""


def read_choice(response: str | None, options: Sequence[str], multiple: bool = False) -> Choice:
    """The letters a response chooses. ``options`` are the texts, with or without their own letters.

    ``multiple`` allows several letters. Reasons for reading none: those of ``final_answer``, ``refusal``,
    ``no_such_option``, ``contradiction`` (a letter with another option's text), ``several_answers``, ``unreadable``.
    """
    return _read(response, tuple(options), multiple)


@lru_cache(maxsize=65536)
def _read(response: str | None, options: tuple[str, ...], multiple: bool) -> Choice:
    reading = final_answer(response)
    texts = tuple(normalise(text) for text in without_letters(options))
    if reading.text is not None:
        return _read_text(reading.text, texts, multiple)
    read = [_read_text(part, texts, multiple) for part in reading.parts]
    letters = {choice.letters for choice in read}
    if len(letters) == 1 and "" not in letters:
        return read[-1]
    return Choice("", reading.reason)


def without_letters(options: Sequence[str]) -> tuple[str, ...]:
    """Option texts without the labels A, B, C ..., taken off only where every option carries its own."""
    found = [re.match(r"\s*[\(\[]?([A-Za-z])\s*[.:)\]、．:]\s*(?=\S)", option) for option in options]
    own = all(m is not None and m.group(1).upper() == LETTERS[i] for i, m in enumerate(found))
    return tuple(o[m.end() :] if own and m else o for o, m in zip(options, found, strict=True))


def _read_text(text: str, texts: tuple[str, ...], multiple: bool) -> Choice:
    known = forms(len(texts))
    text = text.strip()
    if found := known.whole.fullmatch(text):
        return Choice(found["letter"].upper(), how="letter")
    if exact := _equal(text, texts):
        return exact
    if known.many.fullmatch(text):
        return _several(text, texts, multiple)
    if (stated := _stated(text, texts, known, multiple)) is not None:
        return stated
    leading, trailing = _leading(text, texts, known), _trailing(text, known)
    if leading is not None and trailing is not None and leading.letters != trailing.letters:
        return Choice("", "several_answers")
    return leading or trailing or _by_words(text, texts, known)


def _equal(text: str, texts: tuple[str, ...]) -> Choice | None:
    short = normalise(text)
    same = [index for index, option in enumerate(texts) if option == short]
    if not same:
        return None
    return Choice(LETTERS[same[0]], how="option text") if len(same) == 1 else Choice("", "several_answers")


def _several(text: str, texts: tuple[str, ...], multiple: bool) -> Choice:
    words = re.sub(r"\b(?:options?|choices?|and|or)\b", " ", text, flags=re.IGNORECASE)
    letters = "".join(sorted({char for char in words if char.isascii() and char.isupper()}))
    if any(letter not in LETTERS[: len(texts)] for letter in letters):
        return Choice("", "no_such_option")
    if len(letters) > 1 and not multiple:
        return Choice("", "several_answers")
    return Choice(letters, how="letters")


def _stated(text: str, texts: tuple[str, ...], known: Forms, multiple: bool) -> Choice | None:
    """The last explicit statement ("the answer is B"), which is how a chain of thought concludes."""
    found = [match for cue in known.cues for match in cue.finditer(text) if _is_label(text, match)]
    lists = list(known.listed.finditer(text))
    if lists and (not found or lists[-1].end() >= max(match.end("letter") for match in found)):
        return _several(lists[-1]["list"], texts, multiple)
    if found:
        last = max(found, key=lambda match: match.start("letter"))
        letter = last["letter"].upper()
        if _names_another(text[last.end("letter") :], letter, texts):
            return Choice("", "contradiction")
        return Choice(letter, how="stated letter")
    label = ANY_LETTER.search(text)
    if label and label["letter"].upper() not in LETTERS[: len(texts)]:
        return Choice("", "no_such_option")
    return _stated_text(text, texts, known)


def _stated_text(text: str, texts: tuple[str, ...], known: Forms) -> Choice | None:
    """An option's text right after the label, up to the end of its sentence."""
    found = list(LABEL.finditer(text))
    if not found:
        return None
    rest = text[found[-1].end() :]
    for part in (rest, SENTENCE_END.split(rest, maxsplit=1)[0]):
        if part.strip() and (exact := _equal(part, texts)):
            return exact
        if leading := _leading(part.strip(), texts, known):
            return leading
    return None


def _is_label(text: str, match: re.Match[str]) -> bool:
    """Whether a matched letter is a label: no article ("a clot"), pronoun ("I think") or germ ("E. coli")."""
    letter, rest = match["letter"], text[match.end("letter") :]
    if EPITHET.match(rest) or DENIAL.match(rest):
        return False
    bracketed = text[: match.start("letter")].endswith(("(", "[", "（", "【"))
    return bracketed or not (letter in "aAI" and ARTICLE.match(rest))


def _names_another(rest: str, letter: str, texts: tuple[str, ...]) -> bool:
    """Whether the text right after a letter is, up to the end of its sentence, another option's and not its own."""
    head = re.sub(r"^[\)\]}）】>\"'”’]*\s*[.:、,)-]*\s*", "", rest).split("\n", 1)[0]
    for part in (head, SENTENCE_END.split(head, maxsplit=1)[0]):
        if (short := normalise(part)) and short in texts:
            return short != texts[LETTERS.index(letter)]
    return False


def _leading(text: str, texts: tuple[str, ...], known: Forms) -> Choice | None:
    """A letter, then punctuation, a line break or "because": unless all options are gone through, or it is denied."""
    found = known.lead.fullmatch(text)
    if not found or not _is_label(text, found) or _goes_through_options(text):
        return None
    letter = found["letter"].upper()
    rest = text[found.end("letter") :]
    if _names_another(rest, letter, texts):
        return Choice("", "contradiction")
    index = LETTERS.index(letter)
    if texts[index] and texts[index] in normalise(rest.split("\n", 1)[0]) and index not in mentioned(rest, texts):
        return None
    return Choice(letter, how="leading letter")


def _goes_through_options(text: str) -> bool:
    """Whether the lines discuss A, B, C ... in turn without a first paragraph that answers."""
    labels = re.findall(r"^\W*([A-Z])\s*[.):]", text.split("\n\n", 1)[0], re.MULTILINE)
    return len(labels) > 1 and labels == list(LETTERS[: len(labels)])


def _trailing(text: str, known: Forms) -> Choice | None:
    """A bare capital letter as the last line, or after the last comma or colon of the text."""
    line = clean(text.rsplit("\n", 1)[-1]).strip()
    if "\n" in text and (found := known.whole.fullmatch(line)) and (found["letter"].isupper() or len(line) > 1):
        return Choice(found["letter"].upper(), how="last line")
    found = known.last.search(text)
    if found is None or LETTERED_NAME.search(found["before"]):
        return None
    return Choice(found["letter"], how="last letter")


def _by_words(text: str, texts: tuple[str, ...], known: Forms) -> Choice:
    """The one option whose text is named and not denied; a letter in brackets must agree with it."""
    bracketed = {match["letter"].upper() for match in known.bracketed.finditer(text)}
    named = {LETTERS[index] for index in mentioned(text, texts)}
    if len(bracketed) == 1 and named <= bracketed:
        return Choice(next(iter(bracketed)), how="bracketed letter")
    if len(named) == 1 and not bracketed:
        return Choice(next(iter(named)), how="option text named")
    options = {match["letter"] for match in known.option.finditer(text)}
    if len(options) == 1 and not named and not bracketed:
        return Choice(next(iter(options)), how="option letter")
    if len(named) > 1 or len(bracketed) > 1 or (named and bracketed):
        return Choice("", "several_answers")
    if is_refusal(text):
        return Choice("", "refusal")
    if not bracketed and (index := partly_named(text, texts)) is not None:
        return Choice(LETTERS[index], how="part of one option's text")
    if re.fullmatch(r"[\(\[]?[A-Za-z][\)\].]*", text):
        return Choice("", "no_such_option")
    return Choice("", "unreadable")
