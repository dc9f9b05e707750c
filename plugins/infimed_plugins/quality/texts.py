"""The parts of a sample's text that the dimensions look at."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import chain, pairwise
from pathlib import Path

from infimed_core import Sample, Turn
from infimed_plugins.quality.remembered import Remembered

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", re.UNICODE)


@dataclass(frozen=True)
class Texts:
    """Questions and answers of a sample. ``is_caption`` picks the length prior."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]
    is_caption: bool
    options: tuple[str, ...] = ()
    language: str = ""
    pairs: tuple[tuple[str, str], ...] = ()
    """Each answer with the question right before it."""

    @cached_property
    def answer(self) -> str:
        """All answers, one a line."""
        return "\n".join(self.answers)

    @cached_property
    def everything(self) -> str:
        """Questions and answers, one a line."""
        return "\n".join((*self.questions, *self.answers))


def texts_of(sample: Sample) -> Texts:
    """Read the turns; a sample that ends with a question gives its last reference as the answer."""
    turns = [(turn.role, turn.text) for turn in sample.turns]
    questions = tuple([text for role, text in turns if role != "assistant"])
    answers = tuple(
        [_said(turn, text) for turn, (role, text) in zip(sample.turns, turns, strict=True) if role == "assistant"]
    )
    if not answers and sample.references:
        answers = (sample.references[-1],)
    task = sample.tags.get("task_type", "").lower()
    is_caption = "caption" in task or "report" in task or not any(map(str.strip, questions))
    if all(role != "assistant" for role, _ in turns):
        turns += [("assistant", answer) for answer in answers]
    pairs = tuple(
        [(asked[1], said[1]) for asked, said in pairwise(turns) if asked[0] == "user" and said[0] == "assistant"]
    )
    return Texts(questions, answers, is_caption, sample.options, sample.tags.get("language", ""), pairs)


def _said(turn: Turn, text: str) -> str:
    """What an answer says, and what it asks of tools."""
    if not turn.tool_calls:
        return text
    calls = (f"{call.name} {json.dumps(call.arguments, ensure_ascii=False)}" for call in turn.tool_calls)
    return "\n".join(filter(None, (text, *calls)))


@lru_cache(maxsize=16)
def words_of(text: str) -> tuple[str, ...]:
    """Words without digits, in lower case; the dimensions ask for those of one text one after the other."""
    return tuple(chain.from_iterable(map(_words_between_spaces.__getitem__, text.split())))


_words_between_spaces = Remembered(lambda piece: tuple(map(str.lower, _WORD.findall(piece))))


def listed(words: str) -> frozenset[str]:
    """The words of a text, each once."""
    return frozenset(words.split())


@cache
def word_list(name: str) -> tuple[str, ...]:
    """The entries of a list of words in this package; lines that start with # are remarks."""
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return tuple(
        word.strip().lower() for line in lines if not line.startswith("#") for word in line.split(",") if word.strip()
    )
