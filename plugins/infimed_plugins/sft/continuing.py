"""Going on from a checkpoint of an earlier training on purpose: ``continue_from: RUN/STAGE@STEP``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infimed_core import InfimedError, TrainableModel, digest_of_checkpoint
from infimed_plugins.checkpoint_files import check_weights, one_line
from infimed_plugins.sft.kept import BEST, INFO, OPTIMIZER
from infimed_plugins.sft.sharding import to_shard
from infimed_plugins.sft.stages import TrainingStage


def source_of(stage: TrainingStage) -> Path:
    """The directory that ``continue_from`` names: a checkpoint, or RUN/STAGE, RUN/STAGE@STEP, RUN/STAGE@best.

    Raises:
        InfimedError: there is none, or more than one; the message names them.
    """
    assert stage.continue_from is not None
    named = stage.continue_from.checkpoint
    if _is_checkpoint(Path(named)):
        return Path(named)
    place, _, at = named.partition("@")
    run, name = Path(place).parent, Path(place).name
    found = [path for path in _candidates(run / "checkpoints", name, at) if not _is_own(path, named)]
    if len(found) == 1:
        return found[0]
    what = f"stage '{stage.name}': continue_from: {named}"
    if found:
        raise InfimedError(f"{what} may be any of {', '.join(map(str, found))}; name one of these directories")
    there = sorted({f"{name}@{path.name}" for path in _candidates(run / "checkpoints", name, "*")})
    raise InfimedError(f"{what}: there is no such checkpoint; {run} holds {', '.join(there) or 'none of that stage'}")


def _candidates(checkpoints: Path, stage: str, at: str) -> list[Path]:
    if at == "":
        whole = [path for path in checkpoints.glob(f"{stage}-*") if path.name.rsplit("-", 1)[0] == stage]
        return sorted(path for path in whole if _is_checkpoint(path))
    name = BEST if at == "best" else f"step-{int(at):09d}" if at.isdecimal() else "*"
    folders = [path for path in checkpoints.glob(f"{stage}-*.steps") if path.name.rsplit("-", 1)[0] == stage]
    return sorted(path for folder in folders for path in folder.glob(name) if _is_checkpoint(path))


def _is_checkpoint(path: Path) -> bool:
    return (path / "config.json").is_file() or _is_adapter(path)


def _is_adapter(path: Path) -> bool:
    return (path / "adapter_config.json").is_file() and not (path / "config.json").is_file()


def _info(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((path / INFO).read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return {}


def _is_own(path: Path, named: str) -> bool:
    """Whether the checkpoint is of a training that itself went on from what is ``named``."""
    return _info(path).get("continue_from") == named


def source_identity(stage: TrainingStage) -> str:
    """Digest of the checkpoint that a stage goes on from; "" where it starts from the model before it."""
    return digest_of_checkpoint(str(source_of(stage))) if stage.continue_from is not None else ""


def take_over(
    stage: TrainingStage,
    model: TrainableModel,
    plan_hash: str,
    num_steps: int,
    restore: Callable[[Mapping[str, Any]], None],
    say: Callable[[str], None],
) -> int:
    """Put the weights of the named checkpoint in place; returns the steps of this stage that it has behind it.

    Where it is of the very same rows, the stage goes on after its step; else it begins with these weights at step 0.
    ``restore`` puts the optimizer's tensors back.

    Raises:
        InfimedError: it is of another architecture, or has no optimizer's state where that is asked for.
    """
    import torch
    from safetensors.torch import load_file

    if stage.continue_from is None:
        return 0
    path = source_of(stage)
    if _is_adapter(path):
        raise InfimedError(
            f"stage '{stage.name}': continue_from: {path} is an adapter; name it in the model section (checkpoint): a "
            "stage with lora: {merge: false} goes on with it"
        )
    if stage.lora is not None and stage.continue_from.optimizer:
        raise InfimedError(f"stage '{stage.name}': merged adapters begin anew, so optimizer: true has no meaning")
    check_weights(path)
    try:
        with _without_progress_bars():
            opened = type(model.module).from_pretrained(
                path, dtype="auto", use_safetensors=True, trust_remote_code=False
            )
        found = opened.state_dict()
        held = model.module.state_dict()
        names = {name.replace(".base_layer.", "."): name for name in held if ".lora_" not in name}
        if missing := sorted(set(names) ^ set(found)):
            raise ValueError(f"its tensors are not those of this model (first: {missing[0]})")
        with torch.no_grad():
            for name, own in names.items():
                held[own].copy_(to_shard(found[name], held[own]))
    except Exception as error:  # of transformers, safetensors and torch, which have kinds of their own
        text = f"stage '{stage.name}': continue_from: {path} cannot be used: {one_line(error)}"
        raise InfimedError(text) from error
    with_moments = stage.continue_from.optimizer
    if with_moments and not (path / OPTIMIZER).is_file():
        raise InfimedError(
            f"stage '{stage.name}': {path} holds no optimizer's state; set keep_checkpoints.optimizer in the "
            "training it comes from, or leave optimizer out of continue_from"
        )
    if with_moments:
        restore(load_file(path / OPTIMIZER))
    info = _info(path)
    start = int(info.get("step", 0)) if info.get("plan_hash") == plan_hash else 0
    how = "with" if with_moments else "without"
    where = f"goes on after step {start} of {num_steps}" if start else "begins its own steps"
    say(f"stage '{stage.name}' {where} with the weights of {path}, {how} the optimizer's state")
    return min(start, num_steps)


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """The run shows its own bar for every long step."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
