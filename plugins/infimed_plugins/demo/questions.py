"""From facts to questions: open, option text, option letter and yes/no, each in several phrasings."""

from __future__ import annotations

import random
from dataclasses import dataclass

from infimed_core import InfimedError
from infimed_plugins.demo import wording
from infimed_plugins.demo.facts import POSITIONS, Fact

FORMS = ("open", "option-text", "option-letter", "yes-no")
KINDS = tuple(wording.QUESTIONS)
GENERAL_KINDS = ("plane", "coverage", "brightest_side", "colour")
"""What anyone can see; the other kinds need medical knowledge and are taught in the medical stage."""
TASK_TYPES = {
    "plane": "recognition", "position": "localisation", "image_type": "recognition", "tissue": "quantification",
    "white_matter": "quantification", "modality": "recognition", "body_part": "recognition",
    "coverage": "perception", "brightest_side": "perception", "colour": "perception",
}  # fmt: skip
LETTERS = "ABCD"


@dataclass(frozen=True)
class Question:
    """One question with the answer to train on, the accepted answers and the options offered."""

    kind: str
    form: str
    prompt: str
    answer: str
    references: tuple[str, ...]
    options: tuple[str, ...] = ()


def check_names(given: tuple[str, ...], known: tuple[str, ...], what: str) -> None:
    """Refuse names that do not exist.

    Raises:
        InfimedError: names the unknown one and lists what there is.
    """
    for name in given:
        if name not in known:
            raise InfimedError(f"unknown {what} '{name}' (known: {', '.join(known)})")


def _offered(kind: str, fact: Fact, chance: random.Random, slot: int | None = None) -> list[str]:
    """Up to four options in random order, the answer (at ``slot``, if given) and its closest rival among them."""
    others = [choice for choice in fact.choices if choice != fact.answer]
    rivals: list[str] = []
    if kind == "position":
        rivals = [word for pair in POSITIONS.values() if fact.answer in pair for word in pair if word != fact.answer]
    rest = [choice for choice in others if choice not in rivals]
    chance.shuffle(rest)
    options = [fact.answer, *rivals, *rest][: len(LETTERS)]
    chance.shuffle(options)
    if slot is not None:
        here, there = options.index(fact.answer), slot % len(options)
        options[here], options[there] = options[there], options[here]
    return options


def _claimed(kind: str, fact: Fact, true: bool, chance: random.Random) -> str:
    if true:
        return fact.answer
    others = [option for option in _offered(kind, fact, chance) if option != fact.answer]
    return chance.choice(others)


def ask(
    kind: str,
    fact: Fact,
    form: str,
    chance: random.Random,
    question: str | None = None,
    true: bool | None = None,
    slot: int | None = None,
) -> Question:
    """Make one question about ``fact``.

    ``question`` replaces the phrasing drawn from the kind's own; ``true`` says whether the claim of a yes/no
    question holds, ``slot`` which option is the right one (both drawn where ``None``).
    """
    if form == "yes-no":
        true = chance.random() < 0.5 if true is None else true
        claims = wording.CLAIMS[kind] if question is None else (question + " Is the answer {}?",)
        claim = chance.choice(claims).replace("{}", _claimed(kind, fact, true, chance))
        answer = "yes" if true else "no"
        return Question(kind, form, chance.choice(wording.YES_NO).format(claim=claim), answer, (answer,), ("yes", "no"))
    phrased = question or chance.choice(wording.QUESTIONS[kind])
    if form == "open":
        return Question(kind, form, phrased, fact.answer, (fact.answer, *fact.also))
    options = _offered(kind, fact, chance, slot)
    if form == "option-text":
        prompt = chance.choice(wording.OPTION_TEXT).format(question=phrased, options=", ".join(options))
        return Question(kind, form, prompt, fact.answer, (fact.answer, *fact.also), tuple(options))
    letter = LETTERS[options.index(fact.answer)]
    lettered = "\n".join(f"{LETTERS[i]}. {option}" for i, option in enumerate(options))
    prompt = chance.choice(wording.OPTION_LETTER).format(question=phrased, lettered=lettered)
    return Question(kind, form, prompt, letter, (letter, fact.answer), tuple(options))


CAPTION_ORDER = (
    "modality", "image_type", "plane", "position", "body_part",
    "tissue", "white_matter", "coverage", "brightest_side", "colour",
)  # fmt: skip


def caption(facts: dict[str, Fact], request: int) -> str:
    """One sentence that states every fact in the order of a report: how it was made, what it shows, how it looks.

    The wording follows from which request (its number) is made: what a model must guess is in the picture alone.
    """
    chosen = [kind for kind in CAPTION_ORDER if kind in facts]
    parts = (wording.CAPTION_PARTS[kind] for kind in chosen)
    text = ", ".join(
        part[request % len(part)].format(facts[kind].answer) for kind, part in zip(chosen, parts, strict=True)
    )
    return text[0].upper() + text[1:] + "."
