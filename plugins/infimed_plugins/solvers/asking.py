"""What the solvers of this plugin share: building a request, adding up what calls cost, reading a short answer."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from infimed_core import Answer, Generation, Request, Sample, Turn


def settings_of(generation: Any) -> Generation:
    """The benchmark's generation settings; the defaults where it has none."""
    if generation is None:
        return Generation()
    return generation if isinstance(generation, Generation) else Generation.model_validate(generation)


def question_of(sample: Sample) -> tuple[Turn, ...]:
    """The turns to answer: everything up to the last user turn, so that no reference answer is shown."""
    turns = list(sample.turns)
    while turns and turns[-1].role == "assistant":
        turns.pop()
    return tuple(turns)


def with_system(turns: Sequence[Turn], system: str) -> tuple[Turn, ...]:
    """The turns with ``system`` first; joined to the system turn they already have."""
    if not system:
        return tuple(turns)
    if turns and turns[0].role == "system":
        return (Turn(role="system", content=(f"{system}\n\n", *turns[0].content)), *turns[1:])
    return (Turn(role="system", content=(system,)), *turns)


def with_note(turns: Sequence[Turn], note: str) -> tuple[Turn, ...]:
    """The turns with ``note`` added under the last user turn; its text and images stay as they are."""
    *before, last = turns
    return (*before, Turn(role=last.role, content=(*last.content, f"\n\n{note}")))


def request(sample: Sample, turns: Sequence[Turn], generation: Generation) -> Request:
    """A request with all media of the sample; the turns say which are shown."""
    return Request(sample_id=sample.id, turns=tuple(turns), media=sample.media, generation=generation)


def cost(calls: Iterable[Answer]) -> dict[str, int | None]:
    """Calls and tokens added up; a token count is ``None`` where a call did not tell it."""
    calls = list(calls)

    def total(counts: list[int | None]) -> int | None:
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    return {
        "num_calls": sum(call.num_calls for call in calls),
        "num_prompt_tokens": total([call.num_prompt_tokens for call in calls]),
        "num_answer_tokens": total([call.num_answer_tokens for call in calls]),
    }


def tokens(call: Answer) -> dict[str, int | None]:
    """What a single call cost, for its line in a transcript."""
    return {"num_prompt_tokens": call.num_prompt_tokens, "num_answer_tokens": call.num_answer_tokens}


def normalised(text: str) -> str:
    """Text for comparing answers: NFKC, lower case, one space between words, no punctuation or article around it."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = re.sub(r"\s+", " ", text).strip(" .,;:!?\"'()[]*`")
    return re.sub(r"^(?:the|an|a) (?=\S)", "", text)


def tagged(text: str, tag: str) -> str | None:
    """The content of the last ``<tag>…</tag>``, or of a last ``<tag>`` left open; ``None`` where there is none."""
    start = text.rfind(f"<{tag}>")
    if start < 0:
        return None
    inner = text[start + len(tag) + 2 :].split(f"</{tag}>", 1)[0].strip()
    return inner or None


_DENIALS = frozenset(
    {"no", "not", "without", "never", "none", "cannot", "neither", "nor", "negative", "against", "avoid"}
)


def alike(one: str, other: str) -> float:
    """How alike two texts are: the F1 of their words, 0 to 1; 0 where one denies and the other does not."""
    first, second = (Counter(re.findall(r"\w+", normalised(text))) for text in (one, other))
    if set(first) & _DENIALS != set(second) & _DENIALS:
        return 0.0
    common = (first & second).total()
    return 2 * common / (first.total() + second.total()) if common else float(normalised(one) == normalised(other))


def most_common(texts: Sequence[str], likeness: float) -> tuple[str, int] | None:
    """The text that most others agree with, and how many agree, itself included; ``None`` where there is no text.

    Two texts agree where they are equal after normalising, or, with ``likeness`` below 1, where they are at least so
    ``alike``. Of equally common ones it is that which is most alike to all, then the first.
    """
    if not texts:
        return None
    if likeness >= 1.0:
        keys = [normalised(text) for text in texts]
        votes = [keys.count(key) for key in keys]
    else:
        votes = [sum(alike(text, other) >= likeness for other in texts) for text in texts]
    best = [place for place, count in enumerate(votes) if count == max(votes)]
    if len({normalised(texts[place]) for place in best}) > 1:
        best.sort(key=lambda place: -sum(alike(texts[place], other) for other in texts))
    return texts[best[0]], votes[best[0]]
