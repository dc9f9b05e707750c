"""The command of another tool in a shell script: its arguments by name, and the devices that it is started on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infimed_core import InfimedError
from infimed_plugins.migration.shell import commands, left_over


@dataclass(frozen=True)
class Command:
    """How a tool's training is started.

    Attributes:
        starts: what begins it, words with spaces between them, or the end of a Python file's path; and the arguments
            that it stands for.
        called: how a message names it.
        takes_visible: whether it uses every GPU that ``CUDA_VISIBLE_DEVICES`` names, where nothing says how many.
    """

    starts: Mapping[str, Mapping[str, Any]]
    called: str
    takes_visible: bool = False


SWIFT = Command(
    {"swift sft": {}, "swift/cli/sft.py": {}, "swift rlhf": {"rlhf_type": "dpo"},
     "swift/cli/rlhf.py": {"rlhf_type": "dpo"}},
    "'swift sft' or 'swift rlhf'",
)  # fmt: skip
LLAMA_FACTORY = Command(
    {"llamafactory-cli train": {}, "lmf train": {}, "src/train.py": {}, "src/train_bash.py": {},
     "llamafactory/launcher.py": {}},
    "'llamafactory-cli train'",
    takes_visible=True,
)  # fmt: skip
_PROCESSES = ("nproc_per_node", "num_processes")
_NODES = ("nnodes", "num_machines")


def read_command(text: str, file: Path, command: Command, devices: int | None) -> tuple[dict[str, Any], int]:
    """The arguments of a tool's training in a shell script, and the devices that it is started on.

    ``devices``, where it is given, is taken for what the script says of them.

    Raises:
        InfimedError: there is no such command in it, or one with a word that only a shell could work out.
    """
    try:
        lines = commands(text)
    except ValueError as error:
        raise InfimedError(f"{file}: a line cannot be read as a command: {error}") from error
    for words, environment in lines:
        if (found := _start(words, command)) is None:
            continue
        first, given = found
        if (word := left_over(words[first:])) is not None:
            raise InfimedError(f"{file}: '{word}': only a shell knows its value; write that into the file")
        values = dict(given) | _arguments(words[first:], command, file)
        if "MAX_PIXELS" in environment and command is SWIFT:
            values.setdefault("max_pixels", environment["MAX_PIXELS"])
        return values, devices or _devices(words[:first], environment, command, file)
    raise InfimedError(f"{file}: no command {command.called} in it; other commands of that tool are not converted")


def _start(words: Sequence[str], command: Command) -> tuple[int, Mapping[str, Any]] | None:
    """Where the arguments of the command begin, and what it stands for."""
    for number, word in enumerate(words):
        for start, given in command.starts.items():
            parts = start.split()
            if len(parts) == 1 and (word == start or word.endswith(f"/{start}")):
                return number + 1, given
            if len(parts) > 1 and list(words[number : number + len(parts)]) == parts:
                return number + len(parts), given
    return None


def _arguments(words: Sequence[str], command: Command, file: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, value = _named(word)
            values[name] = value or None
        elif not name:
            told = f"'{word}' after {command.called} has no --name before it; convert that file itself"
            raise InfimedError(f"{file}: {told}")
        else:
            before = values[name]
            values[name] = word if before is None else [*(before if isinstance(before, list) else [before]), word]
    return {key: True if value is None else value for key, value in values.items()}


def _named(word: str) -> tuple[str, str]:
    """Name and value of ``--name=value``; a sign - within the value stays."""
    name, _, value = word[2:].partition("=")
    return name.replace("-", "_"), value


def _devices(launcher: Sequence[str], environment: Mapping[str, str], command: Command, file: Path) -> int:
    """Processes of a node, as often as there are nodes: by the launcher's options, else by the environment."""
    options = dict(re.findall(r"--([\w-]+)[= ](\S+)", " ".join(launcher)))
    options = {name.replace("-", "_"): value for name, value in options.items()}
    visible = environment.get("CUDA_VISIBLE_DEVICES", "") if command.takes_visible else ""
    processes = next((options[name] for name in _PROCESSES if name in options), None)
    processes = processes or environment.get("NPROC_PER_NODE") or str(len([d for d in visible.split(",") if d]) or 1)
    nodes = next((options[name] for name in _NODES if name in options), environment.get("NNODES", "1"))
    # `accelerate launch` counts the processes of all machines together.
    try:
        return int(processes) * (1 if "num_processes" in options else int(nodes))
    except ValueError as error:
        raise InfimedError(f"{file}: how many GPUs it is started on: {error}; give --devices") from error
