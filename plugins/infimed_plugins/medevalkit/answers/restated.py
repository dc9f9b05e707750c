"""The question repeated before the answer: its options in their order claim nothing."""

from __future__ import annotations

from infimed_plugins.medevalkit.answers.equality import key_of_plain
from infimed_plugins.medevalkit.answers.named_options import LETTERS, Options


def without_restated(text: str, options: Options) -> str:
    """The text without a block that lists the options with their letters, in order, and nothing else."""
    if len(options) < 2 or not all(options.keys):
        return text
    lines = text.split("\n")
    kept: list[str] = []
    at = 0
    while at < len(lines):
        stop = _block(lines, at, options)
        if stop > at:
            if kept and kept[-1].strip().rstrip(":").lower().endswith(("options", "choices", "选项", "choose from")):
                kept.pop()
            at = stop
            continue
        kept.append(_inline(lines[at], options))
        at += 1
    return "\n".join(kept).strip()


def _block(lines: list[str], at: int, options: Options) -> int:
    """The line after a block of all options from ``at`` on; ``at`` where there is none."""
    number, place = 0, at
    while place < len(lines) and number < len(options):
        line = lines[place].strip()
        if not line and number:
            place += 1
            continue
        if not _is_option(line, number, options):
            break
        number, place = number + 1, place + 1
    return place if number == len(options) or (number >= 3 and number >= len(options) - 1) else at


def _is_option(line: str, number: int, options: Options) -> bool:
    head = line.lstrip("([ \"'")
    if not head or head[0].upper() != LETTERS[number] or len(line) > len(options.texts[number]) + 40:
        return False
    return key_of_plain(head[1:].lstrip(").:]、 -\"'")) == options.keys[number]


def _inline(line: str, options: Options) -> str:
    """The line without all options in a row ("(A) yes (B) no (C) maybe")."""
    if len(line) < 3 * len(options):
        return line
    lowered = line.lower()
    first = place = -1
    for number, text in enumerate(options.texts):
        wanted = text.lower().rstrip(".")
        at = lowered.find(wanted, place + 1 if place >= 0 else 0)
        while at >= 0 and LETTERS[number].lower() not in lowered[max(0, at - 4) : at]:
            at = lowered.find(wanted, at + 1)
        if at < 0 or (place >= 0 and at - place > 8):
            return line
        first = at if first < 0 else first
        place = at + len(wanted)
    start = max(0, first - 4)
    return (line[:start].rstrip("(A.):） ") + " " + line[place:].lstrip(").,; ")).strip()
