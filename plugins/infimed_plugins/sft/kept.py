"""Checkpoints along the way: models that stock transformers opens, the best one, and when to stop early."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from infimed_core import InfimedError, TrainableModel, TrainingContext
from infimed_core.records import open_run
from infimed_plugins.sft.adapters import merged
from infimed_plugins.sft.failures import check_weights
from infimed_plugins.sft.ranks import Ranks
from infimed_plugins.sft.sharding import gathered_on_first, to_shard, whole_weights
from infimed_plugins.sft.stages import HELD_OUT_LOSS, TrainingStage

INFO = "infimed.json"
OPTIMIZER = "infimed-optimizer.safetensors"
BEST = "best"
_BEST_WEIGHTS = "best.safetensors"


class KeptCheckpoints:
    """What a stage keeps while it trains, and whether it should go on.

    Attributes:
        best: ``step`` (finished steps) and ``value`` of the best measurement so far; empty before the first.
        worse: how many measurements have come since without a better one.
    """

    def __init__(
        self,
        model: TrainableModel,
        stage: TrainingStage,
        context: TrainingContext,
        ranks: Ranks,
        parameters: Mapping[str, Any],
        say: Callable[[str], None],
        facts: Mapping[str, JsonValue],
        passing: tuple[Any, bool],
    ) -> None:
        self._model, self._stage, self._ranks, self._say = model, stage, ranks, say
        self._parameters, self._facts = parameters, facts
        self._scratch = context.directory
        self.folder = context.checkpoints or context.directory / "kept"
        self.best: dict[str, Any] = {}
        self.worse = 0
        self._forward, self._sharded = passing

    def state(self) -> dict[str, JsonValue]:
        """For the state on disk."""
        return {"best": self.best, "worse": self.worse} if self.best else {}

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        self.best, self.worse = facts.get("best", {}), facts.get("worse", 0)

    def after(self, done: int, num_steps: int, entry: Mapping[str, Any] | None, moments: Callable[[], Any]) -> bool:
        """Keep what is to be kept after ``done`` steps; whether the stage should stop early.

        ``entry`` is what was measured after this step, if anything was.
        """
        stage, kept = self._stage, self._stage.keep_checkpoints
        if kept is not None and kept.every is not None and done % kept.every == 0 and done < num_steps:
            self._save(f"step-{done:09d}", done, moments if kept.optimizer else None)
            self._thin(kept.most)
        if entry is None or not (stage.patience or stage.end_with == "best" or (kept is not None and kept.best)):
            return False
        if self._is_better(entry):
            if kept is not None and kept.best:
                self._save(BEST, done, moments if kept.optimizer else None)
            if stage.end_with == "best":
                self._put_best_aside()
        if stage.patience is None or self.worse < stage.patience or done >= num_steps:
            return False
        told = f"{stage.best_by} has not been better than {self.best['value']:.4g} (after step {self.best['step']})"
        self._say(
            f"stage '{stage.name}' stops early after step {done} of {num_steps}: {told} at {self.worse} measurements"
        )
        return True

    def _is_better(self, entry: Mapping[str, Any]) -> bool:
        """Compare as the first rank sees it, which alone knows what benchmarks gave; every rank must call this."""
        value, higher = measured(entry, self._stage.best_by) if self._ranks.is_first else (math.nan, False)
        value, higher = self._ranks.gather([value if math.isfinite(value) else None, higher])[0]
        before = self.best.get("value")
        if value is not None and (before is None or (value > before if higher else value < before)):
            self.best, self.worse = {"step": int(entry["step"]), "value": value}, 0
            return True
        self.worse += bool(self.best)
        return False

    def _save(self, name: str, done: int, moments: Callable[[], Any] | None) -> None:
        check_weights(self._stage.name, done, self._parameters)
        held = gathered_on_first(moments(), self._ranks) if moments is not None else None
        problem = None
        with whole_weights(self._forward, self._sharded):
            if self._ranks.is_first:
                try:
                    self._write(name, done, held)
                except InfimedError as error:
                    problem = str(error)
            self._ranks.agree(problem)

    def _write(self, name: str, done: int, moments: Any) -> None:
        best = {"best": self.best} if name == BEST else {}
        facts = {"stage": self._stage.name, "step": done, **self._facts, **best}
        as_adapter = self._stage.lora is not None and not self._stage.lora.merge
        write_checkpoint(self._model, self.folder / name, facts, moments, as_adapter)
        point_latest(self.folder.parent, self.folder / name)

    def _thin(self, most: int | None) -> None:
        if most is not None and self._ranks.is_first:
            for path in sorted(self.folder.glob("step-*"))[:-most]:
                shutil.rmtree(path, ignore_errors=True)

    def _put_best_aside(self) -> None:
        weights = gathered_on_first(self._parameters, self._ranks)
        if self._ranks.is_first:
            from safetensors.torch import save_file

            self._scratch.mkdir(parents=True, exist_ok=True)
            temporary = self._scratch / f".writing-{_BEST_WEIGHTS}"
            save_file({name: tensor.contiguous() for name, tensor in weights.items()}, temporary)
            temporary.replace(self._scratch / _BEST_WEIGHTS)
        self._ranks.wait()

    def finish(self, done: int) -> dict[str, JsonValue]:
        """Put the best weights in place where the stage ends with them; facts for the record."""
        if not self.best:
            return {}
        facts: dict[str, JsonValue] = {"best": dict(self.best)}
        if self._stage.end_with == "best" and self.best["step"] != done:
            import torch
            from safetensors.torch import load_file

            with torch.no_grad():
                for name, tensor in load_file(self._scratch / _BEST_WEIGHTS).items():
                    parameter = self._parameters[name]
                    parameter.copy_(to_shard(tensor, parameter))
            facts["ended_with_step"] = self.best["step"]
            self._say(
                f"stage '{self._stage.name}' ends with the weights of step {self.best['step']}, the best by "
                f"{self._stage.best_by}"
            )
        return facts


def measured(entry: Mapping[str, Any], by: str) -> tuple[float, bool]:
    """The figure that decides which model is best, and whether higher is better; NaN where it is not there."""
    if by == HELD_OUT_LOSS:
        value = entry.get(HELD_OUT_LOSS)
        return (math.nan if value is None else float(value)), False
    facts = (entry.get("benchmarks") or {}).get(by) or {}
    values = [one["value"] for one in facts.values() if isinstance(one, dict) and one.get("value") is not None]
    return (float(values[0]) if values else math.nan), True


def write_checkpoint(
    model: TrainableModel, target: Path, facts: Mapping[str, Any], moments: Any, as_adapter: bool = False
) -> None:
    """Write a whole model in Hugging Face layout, adapters merged, and beside it what InfiMed knows of it.

    With ``as_adapter`` the adapters alone are written, as the stage will end with them.

    Raises:
        InfimedError: it could not be written (disk full ...); what stood there before still does.
    """
    from safetensors.torch import save_file

    temporary = target.with_name(f".writing-{target.name}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        with nullcontext() if as_adapter else merged(model):
            model.save(temporary)
        if moments is not None:
            save_file({name: tensor.contiguous() for name, tensor in moments.items()}, temporary / OPTIMIZER)
        (temporary / INFO).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if not isinstance(error, OSError) and type(error).__name__ != "SafetensorError":
            raise
        raise InfimedError(
            f"{target}: this checkpoint could not be written ({error}); free disk space, or keep fewer "
            "(keep_checkpoints: most), and run the same command again"
        ) from error


def point_latest(checkpoints: Path, target: Path) -> None:
    """Let ``checkpoints/latest`` name the newest checkpoint; a file system without links has none."""
    link = checkpoints / "latest"
    wanted = os.path.relpath(target, checkpoints)
    with suppress(OSError):
        if link.is_symlink() and os.readlink(link) == wanted:
            return
        if link.exists() and not link.is_symlink():
            return  # something of the user's
        temporary = checkpoints / ".latest"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(wanted, target_is_directory=True)
        temporary.replace(link)


def point_latest_of_run(directory: Path) -> None:
    """The same for the checkpoint that the last finished stage of a run left."""
    with suppress(InfimedError):
        run = open_run(directory)
        finished = [one for step in run.steps("train") if (one := run.artifact(step)) is not None]
        if finished:
            point_latest(finished[-1].parent, finished[-1])
