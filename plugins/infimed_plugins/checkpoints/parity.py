"""Why a server answers otherwise than the model that was trained: found from counts and answers, and named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from infimed_core import Answer
from infimed_plugins.checkpoints.probes import Probe


@dataclass(frozen=True)
class Pair:
    """A probe with the answers of both sides."""

    probe: Probe
    here: Answer
    there: Answer

    @property
    def comparable(self) -> bool:
        """Whether both sides answered."""
        return self.here.error is None and self.there.error is None

    @property
    def extra_tokens(self) -> int | None:
        """Prompt tokens that the server has more; ``None`` where it does not count."""
        if not self.comparable or self.here.num_prompt_tokens is None or self.there.num_prompt_tokens is None:
            return None
        return self.there.num_prompt_tokens - self.here.num_prompt_tokens

    @property
    def same(self) -> bool:
        """Whether both gave the same answer."""
        return self.comparable and self.here.text == self.there.text


@dataclass(frozen=True)
class Finding:
    """A difference: its kind in a word, what was seen, and what to do."""

    kind: str
    seen: str
    remedy: str


Answers = Mapping[str, Answer]
"""Answers by the names of probes."""


def diagnose(
    pairs: Sequence[Pair], base: Callable[[], Answers] | None, types: Mapping[str, Callable[[], Answers]]
) -> list[Finding]:
    """What differs, the surest first; nothing where every count and every answer is the same.

    Args:
        base: answers of an adapter's base without the adapter, asked only where that would explain something.
        types: the same for the checkpoint in other types of numbers.
    """
    found = [*_refused(pairs), *_template(pairs)]
    if not found:
        found += _image_tokens(pairs)
    other = [pair for pair in pairs if pair.comparable and not pair.same]
    if not found and other:
        explained = _adapter(pairs, base) or _ends(other) or _types(pairs, types) or _pixels(pairs) or _weights(pairs)
        found.append(explained)
    return found


def _refused(pairs: Sequence[Pair]) -> list[Finding]:
    failed = [pair for pair in pairs if pair.there.error is not None and pair.here.error is None]
    if not failed:
        return []
    first = failed[0]
    seen = f"the server refuses {len(failed)} of {len(pairs)} questions; '{first.probe.name}': {first.there.error}"
    return [Finding("refused", seen, "start the server with this model, its processor and room for its prompts")]


def _template(pairs: Sequence[Pair]) -> list[Finding]:
    """Prompts of text alone that are not equally long."""
    extra = {pair.probe.name: pair.extra_tokens for pair in pairs if not pair.probe.num_images}
    known = {name: count for name, count in extra.items() if count is not None}
    if not any(known.values()):
        return []
    counts = set(known.values())
    if len(counts) == 1:
        (count,) = counts
        seen = f"every prompt has {abs(count)} tokens {'more' if count > 0 else 'fewer'} on the server"
    else:
        seen = "prompts of text are not equally long: " + ", ".join(
            f"'{name}' {count:+d}" for name, count in known.items() if count
        )
    return [
        Finding(
            "template",
            seen,
            "serve with the chat template and tokenizer that lie in the checkpoint (vllm serve --chat-template)",
        )
    ]


def _image_tokens(pairs: Sequence[Pair]) -> list[Finding]:
    """Prompts with images that are not equally long, where those of text are."""
    extra = [(pair, pair.extra_tokens) for pair in pairs if pair.probe.num_images]
    other = [(pair, count) for pair, count in extra if count]
    if not other:
        return []
    seen = ", ".join(
        f"'{pair.probe.name}' {pair.there.num_prompt_tokens} prompt tokens there, {pair.here.num_prompt_tokens} here"
        for pair, _ in other
    )
    remedy = (
        "give both the same limits: preprocessor_config.json of the checkpoint, --mm-processor-kwargs of the server, "
        "--max-visual-tokens here"
    )
    return [Finding("image size", seen, remedy)]


def _agreement(pairs: Sequence[Pair], answers: Answers) -> int:
    """How many probes the server answers as ``answers`` do."""
    return sum(pair.comparable and answers[pair.probe.name].text == pair.there.text for pair in pairs)


def _adapter(pairs: Sequence[Pair], base: Callable[[], Answers] | None) -> Finding | None:
    if base is None:
        return None
    as_base, as_here = _agreement(pairs, base()), sum(pair.same for pair in pairs)
    if as_base <= as_here:
        return None
    seen = f"{as_base} of {len(pairs)} answers are those of the base without the adapter, {as_here} those with it"
    remedy = (
        "load it (vllm serve BASE --enable-lora --lora-modules NAME=DIRECTORY) and ask for NAME, or export it merged"
    )
    return Finding("adapter not loaded", seen, remedy)


def _ends(other: Sequence[Pair]) -> Finding | None:
    """Answers that are the same as far as the shorter one goes."""
    goes_on = [p for p in other if p.here.finish_reason == "stop" and _continues(p.there.text, p.here.text)]
    ends_early = [p for p in other if p.there.finish_reason == "stop" and _continues(p.here.text, p.there.text)]
    for cases, what in ((goes_on, "goes on after"), (ends_early, "ends before")):
        if len(cases) == len(other):
            seen = f"the server {what} the end of the answer here in {len(cases)} questions"
            return Finding(
                "end token", seen, "compare eos_token_id of generation_config.json with that of the tokenizer"
            )
    return None


def _continues(longer: str | None, shorter: str | None) -> bool:
    return bool(shorter) and (longer or "").startswith(shorter or "") and longer != shorter


def _types(pairs: Sequence[Pair], types: Mapping[str, Callable[[], Answers]]) -> Finding | None:
    as_here = sum(pair.same for pair in pairs)
    agreements = {name: _agreement(pairs, ask()) for name, ask in types.items()}
    best = max(agreements, key=lambda name: agreements[name], default="")
    if not best or agreements[best] <= as_here:
        return None
    seen = f"{agreements[best]} of {len(pairs)} answers are those of the checkpoint in {best}, {as_here} those here"
    return Finding("dtype", seen, f"serve in the type that you grade in, or grade in {best}")


def _pixels(pairs: Sequence[Pair]) -> Finding | None:
    text = [pair for pair in pairs if pair.comparable and not pair.probe.num_images]
    if not text or not all(pair.same for pair in text):
        return None
    num = sum(not pair.same for pair in pairs if pair.comparable)
    seen = f"text alone is answered alike, {num} questions with images are not, although they have as many tokens"
    return Finding("image processing", seen, "compare image_mean, image_std, rescale_factor and resample of both sides")


def _weights(pairs: Sequence[Pair]) -> Finding:
    num = sum(not pair.same for pair in pairs if pair.comparable)
    seen = f"{num} of {len(pairs)} answers differ although all prompts are equally long"
    remedy = (
        "look at which checkpoint the server has loaded, whether an adapter is on top, and, by --served, at its files"
    )
    return Finding("weights", seen, remedy)
