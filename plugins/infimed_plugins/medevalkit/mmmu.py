"""MMMU's answer parser as MedEvalKit carries it at commit 9b12e3b, bug for bug."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from infimed_plugins.medevalkit.kit_text import boxed, extract

_CUES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_NUMBERS = (
    r"-?\b\d{1,3}(?:,\d{3})+\b",
    r"-?\d+(?:\.\d+)?[eE][+-]?\d+",
    r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])",
)


def parse_choice(response: str | None, options: Mapping[str, str]) -> str | None:
    """The letter read, or ``None`` where the kit draws one at random. ``options`` maps letters to texts."""
    text = response or ""
    if "<answer>" in text and "</answer>" in text:
        text = extract(text)
    elif (content := boxed(text)) != "None":
        text = content
    text = text.strip()
    for mark in ",.!?;:'":
        text = text.strip(mark)
    text = f" {text} "
    found = {letter: text.rfind(f"({letter})") for letter in options if f"({letter})" in text}
    if not found:
        found = {letter: text.rfind(f" {letter} ") for letter in options if f" {letter} " in text}
    if not found and len(text.split()) > 5:
        folded = text.lower()
        found = {letter: folded.rfind(option.lower()) for letter, option in options.items() if option.lower() in folded}
    return max(found, key=found.__getitem__) if found else None


def parse_open(response: str) -> list[str | float]:
    """Everything that counts as the answer: the shortest tails after cue words, and every number in them."""
    text = response.strip().strip(".").lower()
    parts = re.split(r"\.\s(?=[A-Z])|\n", text)
    tails = []
    for index, part in enumerate(parts):
        cues = (*_CUES, "=") if index == len(parts) - 1 else _CUES
        found = [tail for cue in cues if cue in part and (tail := part.split(cue)[-1].strip())]
        if found and (shortest := min(found, key=len)) not in set(":,.!?;'"):
            tails.append(shortest)
    tails = tails or [text]
    numbers = [number for tail in tails for pattern in _NUMBERS for number in re.findall(pattern, tail)]
    return [form for candidate in [*tails, *numbers] for form in normal_forms(candidate)]


def normal_forms(text: str) -> list[str | float]:
    """A number to two decimals; one letter padded on either side; anything else lower-cased."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        lowered = text.lower()
        return [f" {lowered}", f"{lowered} "] if len(lowered) == 1 else [lowered]


def open_right(gold: str | Sequence[str], candidates: Sequence[str | float]) -> bool:
    """Whether an accepted text occurs in a candidate text, or a number equals one."""
    golds = [gold] if isinstance(gold, str) else gold
    wanted = [form for accepted in golds for form in normal_forms(accepted)]
    return any(
        any(isinstance(form, str) and form in candidate for form in wanted)
        if isinstance(candidate, str)
        else candidate in wanted
        for candidate in candidates
    )
