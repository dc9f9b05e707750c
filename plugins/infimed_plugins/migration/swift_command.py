"""The command of ms-swift in a shell script: its arguments by name, and the devices that it is started on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from infimed_core import InfimedError
from infimed_plugins.migration.shell import commands, left_over

COMMANDS = {("swift", "sft"), ("swift", "rlhf")}


def read_command(text: str, file: Path) -> tuple[dict[str, Any], int]:
    """The arguments of ``swift sft`` or ``swift rlhf`` in a shell script, and the devices that it is started on.

    Raises:
        InfimedError: there is no such command in it, or one with a word that only a shell could work out.
    """
    try:
        lines = commands(text)
    except ValueError as error:
        raise InfimedError(f"{file}: a line cannot be read as a command: {error}") from error
    for words, environment in lines:
        start = next((n for n, pair in enumerate(pairwise(words)) if pair in COMMANDS), None)
        if start is None:
            continue
        if (word := left_over(words[start:])) is not None:
            raise InfimedError(f"{file}: '{word}': only a shell knows its value; write that into the file")
        values, devices = _arguments(words[start + 2 :], environment, file)
        return (values if words[start + 1] == "sft" else {"rlhf_type": "dpo"} | values), devices
    raise InfimedError(f"{file}: no command 'swift sft' or 'swift rlhf' in it; others of ms-swift are not converted")


def _arguments(words: Sequence[str], environment: dict[str, str], file: Path) -> tuple[dict[str, Any], int]:
    values: dict[str, Any] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, _, value = word[2:].replace("-", "_").partition("=")
            values[name] = value or None
        elif not name:
            raise InfimedError(f"{file}: '{word}' after 'swift sft' has no --name before it; convert that file itself")
        else:
            before = values[name]
            values[name] = word if before is None else [*(before if isinstance(before, list) else [before]), word]
    if "MAX_PIXELS" in environment:
        values.setdefault("max_pixels", environment["MAX_PIXELS"])
    try:
        devices = int(environment.get("NPROC_PER_NODE", "1")) * int(environment.get("NNODES", "1"))
    except ValueError as error:
        raise InfimedError(f"{file}: NPROC_PER_NODE and NNODES: {error}; give --devices") from error
    return {key: True if value is None else value for key, value in values.items()}, devices
