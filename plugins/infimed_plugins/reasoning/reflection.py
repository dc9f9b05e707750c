"""The reflective pattern: a plausible wrong attempt, the evidence against it, the corrected reasoning."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import yaml
from pydantic import Field

from infimed_core import DataError, Row, Sample, read_named
from infimed_plugins.reasoning.checks import asked
from infimed_plugins.reasoning.leaks import leak
from infimed_plugins.reasoning.rationales import Rationale, sentences, words

TEMPLATES = Path(__file__).with_name("templates.yaml")
NEEDED = ("{wrong_answer}", "{evidence}", "{reasoning}")
"""What every pattern must hold: the attempt, what speaks against it, and the correction."""
KNOWN = (*NEEDED, "{wrong_reasoning}")
MOST_WRONG_WORDS = 12
"""Words of an answer from which on it is no attempt that could be named in a sentence."""


class Reflective(Row):
    """Which of the samples that are made get the reflective pattern."""

    share: float = Field(default=0.0, ge=0.0, le=1.0, description="Share of the samples made that get the pattern.")
    templates: str | None = Field(
        default=None, description="A YAML file with lists of patterns by language; the patterns that InfiMed brings."
    )
    sparse_words: int = Field(
        default=60, ge=1, description="Only samples whose question and answer have at most so many words."
    )
    where: dict[str, str | tuple[str, ...]] = Field(
        default_factory=dict, description="Only samples with these tags, as in a stage's mix."
    )


@lru_cache(maxsize=8)
def read_templates(path: str | None) -> Mapping[str, tuple[str, ...]]:
    """The patterns by language.

    Raises:
        DataError: the file is no table of lists, or a pattern lacks a part or has one that is not known.
    """
    file = Path(path) if path else TEMPLATES
    try:
        body = yaml.safe_load(read_named(file))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError("templates", f"{file}: cannot be read: {error}") from None
    if not isinstance(body, dict) or not all(isinstance(patterns, list) and patterns for patterns in body.values()):
        raise DataError("templates", f"{file}: must map a language to a list of patterns, as in {{en: [...]}}")
    for language, patterns in body.items():
        for pattern in patterns:
            held = re.findall(r"\{[^{}]*\}", str(pattern))
            missing = [part for part in NEEDED if part not in held]
            unknown = [part for part in held if part not in KNOWN]
            if missing or unknown:
                told = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(unknown)}, which is not known"
                raise DataError("templates", f"{file}: a pattern of '{language}' {told}: {str(pattern)[:80]}")
    return {str(language): tuple(map(str, patterns)) for language, patterns in body.items()}


def digest_of_templates(path: str | None) -> str:
    """Changes with the patterns; "" where the file cannot be read."""
    try:
        return hashlib.sha256(read_named(Path(path) if path else TEMPLATES)).hexdigest()
    except OSError:
        return ""


def is_sparse(sample: Sample, settings: Reflective) -> bool:
    """Whether a sample's own text says little."""
    answer = sample.turns[-1].text if sample.turns[-1].role == "assistant" else ""
    return len(words(asked(sample))) + len(words(answer)) <= settings.sparse_words


def attempt(sample: Sample, wrong: Sequence[Rationale]) -> Rationale | None:
    """A plausible wrong attempt: the commonest wrong answer that the teacher gave, else an option that is wrong.

    ``None`` where the sample offers none.
    """
    short = [one for one in wrong if one.final and len(words(one.final)) <= MOST_WRONG_WORDS]
    if short:
        counts = Counter((one.final or "").casefold() for one in short)
        commonest = min(counts, key=lambda final: (-counts[final], final))
        same = [one for one in short if (one.final or "").casefold() == commonest]
        fit = [one for one in same if not leak(one.reasoning)]
        return min(fit or same, key=lambda one: (len(one.reasoning), one.reasoning))
    right = {" ".join(words(text)) for text in sample.references}
    right |= {" ".join(words(sample.options[at])) for at in map(_place, sample.references) if at < len(sample.options)}
    others = [text for text in sample.options if " ".join(words(text)) not in right]
    if not others:
        return None
    chosen = others[_number(sample.id, "attempt") % len(others)]
    return Rationale("", chosen, 1)


def reflect(
    sample: Sample, right: Rationale, wrong: Rationale, templates: Mapping[str, tuple[str, ...]]
) -> tuple[str, str] | None:
    """The reasoning in a reflective pattern and the pattern that was used; ``None`` where none fits."""
    language = sample.tags.get("language", "en").split("-")[0]
    before = set(sentences(wrong.reasoning))
    steps = sentences(right.reasoning)
    evidence = next((step for step in steps if step not in before), "")
    if not evidence:
        return None
    usable = wrong.reasoning if not leak(wrong.reasoning) else ""
    fit = [one for one in templates.get(language, ()) if usable or "{wrong_reasoning}" not in one]
    # a pattern that shows how the attempt came about says more than one that does not
    fit = [one for one in fit if "{wrong_reasoning}" in one] or fit if usable else fit
    if not fit:
        return None
    template = fit[_number(sample.id, "template") % len(fit)]
    values = {
        "wrong_answer": wrong.final or "",
        "wrong_reasoning": " ".join(sentences(usable)),
        "evidence": evidence,
        "reasoning": right.reasoning,
    }
    # by one substitution, so that braces in what a model said stay as they are
    return re.sub(r"\{(\w+)\}", lambda match: values[match.group(1)], template), template


def _place(letter: str) -> int:
    """The place of an option's letter; one beyond every list where it is none."""
    return ord(letter.upper()) - ord("A") if len(letter) == 1 and letter.isascii() and letter.isalpha() else 1 << 30


def _number(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("|".join(parts).encode()).digest()[:8], "big")
