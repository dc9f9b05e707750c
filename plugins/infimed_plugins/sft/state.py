"""Resumable state on disk: written whole or not at all, verified when read, free of pickle."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infimed_core import InfimedError
from infimed_plugins.sft.sharding import to_shard

FORMAT = 1
_NAME = re.compile(r"^step-(\d{9})$")


@dataclass(frozen=True)
class State:
    """A state as read: ``facts`` is JSON; ``weights`` and ``moments`` map names to tensors on the CPU."""

    step: int
    facts: dict[str, Any]
    weights: dict[str, Any]
    moments: dict[str, Any]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def state_directories(directory: Path) -> list[Path]:
    """Complete states below ``directory``, newest first."""
    if not directory.is_dir():
        return []
    return sorted((path for path in directory.iterdir() if _NAME.match(path.name)), reverse=True)


def write_state(
    directory: Path,
    step: int,
    facts: Mapping[str, Any],
    weights: Mapping[str, Any],
    moments: Mapping[str, Any],
    keep: int,
) -> Path:
    """Write the state after ``step`` finished steps; afterwards the newest ``keep`` are left.

    Files are flushed to disk before the directory takes its name, so that a state that has its name is whole.

    Raises:
        InfimedError: it could not be written (disk full ...); earlier states are untouched.
    """
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    final = directory / f"step-{step:09d}"
    temporary = directory / f".writing-{step:09d}"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, temporary / "weights.safetensors")
        save_file({name: tensor.contiguous() for name, tensor in moments.items()}, temporary / "optimizer.safetensors")
        text = json.dumps({"format": FORMAT, "step": step, **facts})
        (temporary / "state.json").write_text(text, encoding="utf-8")
        checksums = {path.name: _digest(path) for path in sorted(temporary.iterdir())}
        (temporary / "checksums.json").write_text(json.dumps(checksums), encoding="utf-8")
        for path in temporary.iterdir():
            _flush(path)
        _flush(temporary)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        _flush(directory)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        # safetensors reports a full disk as its own error type, not as an OSError.
        last = next((path.name for path in state_directories(directory)), "none")
        raise InfimedError(
            f"{directory}: the training state after step {step} could not be written ({error}); "
            f"the last good state is {last}; free disk space and run the same command again"
        ) from error
    for path in state_directories(directory)[keep:]:
        shutil.rmtree(path, ignore_errors=True)
    return final


def _read(path: Path) -> State:
    from safetensors.torch import load_file

    checksums = json.loads((path / "checksums.json").read_text(encoding="utf-8"))
    for name in ("weights.safetensors", "optimizer.safetensors", "state.json"):
        if checksums.get(name) != _digest(path / name):
            raise ValueError(f"{name} does not have the checksum it was written with")
    facts = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if facts.get("format") != FORMAT:
        raise ValueError(f"format {facts.get('format')} is not {FORMAT}")
    weights = load_file(path / "weights.safetensors")
    return State(facts["step"], facts, weights, load_file(path / "optimizer.safetensors"))


def newest_state(directory: Path, fingerprint: str, tell: Callable[[str], None]) -> State | None:
    """The newest state that is whole and was written under ``fingerprint``; ``None`` where there is none.

    Every state passed over is told with its reason.
    """
    for path in state_directories(directory):
        try:
            state = _read(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            tell(f"{path}: this training state cannot be used ({error}); trying the one before")
            continue
        except Exception as error:
            if type(error).__name__ != "SafetensorError":
                raise
            tell(f"{path}: this training state cannot be used ({error}); trying the one before")
            continue
        if state.facts.get("fingerprint") != fingerprint:
            tell(f"{path}: this training state belongs to another plan, stage or seed; it is not used")
            continue
        return state
    return None


def clear_unfinished(directory: Path) -> None:
    """Remove what a killed write left behind."""
    for path in directory.glob(".writing-*"):
        shutil.rmtree(path, ignore_errors=True)


def flatten_optimizer(optimizer: Any, names: Mapping[Any, str]) -> dict[str, Any]:
    """The optimizer's tensors under ``parameter name|entry``; ``names`` maps parameters to names.

    Raises:
        InfimedError: it holds something else, so that a stage could not go on from it.
    """
    others = {
        entry for entries in optimizer.state.values() for entry, held in entries.items() if not hasattr(held, "to")
    }
    if others:
        raise InfimedError(
            f"the optimizer {type(optimizer).__name__} holds '{min(others)}', which is no tensor, for a parameter: the "
            "stage could not go on from its state; keep tensors alone"
        )
    return {
        f"{names[parameter]}|{entry}": tensor
        for parameter, entries in optimizer.state.items()
        for entry, tensor in entries.items()
    }


def restore_optimizer(optimizer: Any, parameters: Mapping[str, Any], moments: Mapping[str, Any]) -> None:
    """Put the whole tensors of ``flatten_optimizer`` back, on each parameter's device and laid out as it is."""
    for key, tensor in moments.items():
        name, _, entry = key.rpartition("|")
        parameter = parameters[name]
        placed = tensor.to(parameter.device)
        optimizer.state[parameter][entry] = to_shard(placed, parameter) if placed.shape == parameter.shape else placed
