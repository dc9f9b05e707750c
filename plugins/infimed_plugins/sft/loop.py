"""The steps of one stage."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import JsonValue

from infimed_core import Batches, InfimedError, Objective, PackedBatch, TrainableModel, TrainingContext
from infimed_plugins.sft.accounting import curve_summary, peak_memory, rate, stage_facts
from infimed_plugins.sft.failures import check_skipped, check_weights, told_with_row, told_with_step
from infimed_plugins.sft.flop_counter import FlopCounter, peak_flops
from infimed_plugins.sft.kept import KeptCheckpoints
from infimed_plugins.sft.kernels import choose_kernel
from infimed_plugins.sft.loading import Loader, told_idle
from infimed_plugins.sft.loss_anomaly import find_anomaly, shown_ids
from infimed_plugins.sft.making import RowMaker, Updates
from infimed_plugins.sft.parameters import grouped_parameters, make_optimizer
from infimed_plugins.sft.ranks import Ranks
from infimed_plugins.sft.rates import rate_factor
from infimed_plugins.sft.resuming import StageStates
from infimed_plugins.sft.row_losses import CrossEntropyRows, ObjectiveRows
from infimed_plugins.sft.saving import SaveTimer
from infimed_plugins.sft.sharding import gathered
from infimed_plugins.sft.stages import TrainingStage
from infimed_plugins.sft.tally import StageTally
from infimed_plugins.sft.validation import Validation


@dataclass(frozen=True)
class LoopSettings:
    """What the trainer's own settings say for every stage; see ``StagedTrainer``."""

    precision: str
    num_workers: int = 0
    rows_ahead: int = 4
    loss_kernel: str = "auto"
    peak_flops: float | None = None
    until: int | None = None


class Loop:
    """One stage from its first step, or from its newest state, to its last step."""

    def __init__(
        self,
        settings: LoopSettings,
        model: TrainableModel,
        batches: Batches,
        stage: TrainingStage,
        context: TrainingContext,
        chosen: dict[str, dict[str, Any]],
        ranks: Ranks,
        forward: Callable[[Callable[[], Any]], Any] | None = None,
        objective: Objective | None = None,
    ) -> None:
        import torch

        self._every = 1 if objective is None else objective.num_updates
        if objective is not None and objective.makes_rows:
            batches = Updates(batches, objective)
        self._settings, self._model, self._batches = settings, model, batches
        self._stage, self._context = stage, context
        self._ranks = ranks
        self._sharded, self._forward = forward is not None, forward or (lambda compute: compute())
        self._stand_in: PackedBatch | None = None
        self._parameters = {name: p for members in chosen.values() for name, p in members.items()}
        self._learning = list(self._parameters.values())
        self._device = self._learning[0].device
        self._precision = settings.precision
        self._optimizer = make_optimizer(chosen, stage)
        self._states = StageStates(
            model, self._parameters, self._optimizer, batches, stage, context, self._precision, ranks, self._say
        )
        head = model.output_embedding()
        self._kernel = choose_kernel(settings.loss_kernel, self._device.type, head, stage.loss_weighting)
        self._losses = (
            CrossEntropyRows(model, self._kernel, stage.loss_weighting, self._device)
            if objective is None
            else ObjectiveRows(model, self._kernel, objective, self._device)
        )
        self._flops = FlopCounter(
            model, grouped_parameters(model), {group for group, members in chosen.items() if members}
        )
        self._tally = StageTally(self._flops, ranks, self._say)
        self._seconds_before = self._waited_before = 0.0
        self._resumed_from, self._last_saved = 0, -1
        facts = {
            "plan_hash": batches.plan_hash,
            "continue_from": stage.continue_from.checkpoint if stage.continue_from is not None else None,
        }
        passing = self._forward, self._sharded
        self._kept = KeptCheckpoints(model, stage, context, ranks, self._parameters, self._say, facts, passing)
        self._done, self._is_due = 0, False
        self._validation = Validation(model, context, ranks, *passing, self._arithmetic)
        self._maker: RowMaker | None = None
        if objective is not None and isinstance(batches, Updates):
            calling = *passing, self._arithmetic
            self._maker = RowMaker(objective, model, batches, context, ranks, self._parameters, calling)
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    # -- the steps -----------------------------------------------------------------------------------------------

    def run(self) -> dict[str, JsonValue]:
        """Train to the end; returns the facts for the record."""
        stage, batches, ranks = self._stage, self._batches, self._ranks
        start = self._done = self._resume()
        self._timer = SaveTimer(self._context.directory, stage.save_seconds) if ranks.is_first else None
        settings = self._settings
        self._started = time.perf_counter()
        if self._maker is not None:
            self._loader: Loader | RowMaker = self._maker
            steps = self._maker.steps(start)
        else:
            if idle := told_idle(batches, ranks.size):
                self._say(idle)
            self._loader = Loader(batches, start, ranks.rank, ranks.size, settings.num_workers, settings.rows_ahead)
            steps = iter(self._loader)
        try:
            self._stop_where_told(start)
            if start == 0:
                self._validation.at_start()
            for step, rows in steps:
                self._step(step, rows)
                done = self._done = step + 1
                entry = self._validation.after(done, batches.num_steps)
                if self._kept.after(done, batches.num_steps, entry, self._states.moments):
                    break
                self._is_due |= done % stage.save_every == 0
                if self._is_due and done < batches.num_steps and done % self._every == 0:
                    self._save(done)
                self._stop_where_told(done)
        finally:
            steps.close()  # type: ignore[attr-defined]
        check_weights(stage.name, self._done, self._parameters)
        self._ended = self._kept.finish(self._done)
        self._tally.tell_losses(batches.num_steps)
        return self._facts()

    def _stop_where_told(self, done: int) -> None:
        """Stop, to go on later, where ``until`` says so and steps are left."""
        until, num_steps = self._settings.until, self._batches.num_steps
        if until is not None and until <= done < num_steps and done % self._every == 0:
            if done:
                self._save(done)
            said = f"stage '{self._stage.name}' stops after step {done} of {num_steps}, as 'until' says"
            self._say(said)
            raise KeyboardInterrupt(said)

    def _step(self, step: int, rows: list[tuple[int, PackedBatch]]) -> None:

        stage, ranks, context = self._stage, self._ranks, self._context
        targets = [self._losses.targets(row) for _, row in rows]
        counts = self._tally.count(rows)
        due = float(self._timer is not None and self._timer.due())
        whole_weight, stopped, due, *counts = ranks.sum(
            [sum(amount for *_, amount in targets), float(context.stopped.is_set()), due, *counts]
        )
        # By the clock of the first rank: all save together. Within the updates by rows that the weights of an earlier
        # step made, no state is written: it could not make them again.
        self._is_due = due > 0.0 or (self._is_due and step % self._every > 0)
        if stopped and step % self._every == 0:
            self._save(step)
            raise KeyboardInterrupt
        self._tally.add(counts)
        loss = norm = None
        told: dict[str, JsonValue] = {}
        factor = rate_factor(stage, step, self._batches.num_steps)
        if whole_weight > 0.0:
            total, num_without = self._gradient_of(step, rows, [(p, w / whole_weight) for p, w, _ in targets])
            loss, norm, told = self._update(step, rows, total, num_without, factor)
        else:
            self._tally.skip(step + 1, "no_supervised_tokens" if self._maker is None else "nothing_to_learn_from")
        self._tell(step, loss, norm, factor, told | (self._maker.facts if self._maker is not None else {}))
        check_skipped(
            stage.name, step + 1, self._batches.num_steps, self._tally.skip_reasons(), stage.max_skipped_share
        )

    def _gradient_of(
        self, step: int, rows: list[tuple[int, PackedBatch]], targets: list[tuple[Any, Any]]
    ) -> tuple[Any, int]:
        """Add the gradient of this rank's rows; returns its share of the loss, and how many rows had no gradient."""
        import torch

        total = torch.zeros((), dtype=torch.float32, device=self._device)
        num_without = 0
        for (index, row), (positions, weights) in zip(rows, targets, strict=True):
            if len(positions):
                loss, learns = self._backward(step, index, row, positions, weights)
                total += loss
                num_without += not learns
            elif self._sharded:
                self._pass_along(step)
        if self._sharded:
            for _ in range(len(rows), -(-self._batches.num_rows(step) // self._ranks.size)):
                self._pass_along(step)
        return total, num_without

    def _update(
        self, step: int, rows: list[tuple[int, PackedBatch]], total: Any, num_without: int, factor: float
    ) -> tuple[float | None, float | None, dict[str, JsonValue]]:
        """One step of the optimizer, unless something is wrong with it; returns loss, gradient norm, more to tell."""
        import torch

        stage, ranks = self._stage, self._ranks
        own = sum(1 for parameter in self._learning if parameter.grad is not None)
        parts = ranks.gather(
            {"loss": total.item(), "figures": self._losses.of_step(), "without": num_without, "gradients": own}
        )
        loss: float | None = sum(part["loss"] for part in parts)
        norm: float | None = None
        self._tally.rows_without_gradient += sum(part["without"] for part in parts)
        told = self._losses.merged([part["figures"] for part in parts])
        if not any(part["gradients"] for part in parts):
            # Not a step of size zero: weight decay and the moments would move the weights.
            self._tally.skip(step + 1, "no_gradient")
            return loss if math.isfinite(loss or 0.0) else None, None, told
        ranks.sum_gradients(self._learning)
        gradients = [parameter.grad for parameter in self._learning if parameter.grad is not None]
        gradient_norm = torch.nn.utils.get_total_norm(gradients)
        norm = gathered(gradient_norm).item()
        assert loss is not None and norm is not None
        anomaly = find_anomaly(loss, norm, self._tally.curve, stage.spike)
        if anomaly:
            self._bad_step(step, rows, anomaly)
            loss = loss if math.isfinite(loss) else None
            norm = norm if math.isfinite(norm) else None
        else:
            if stage.max_gradient_norm is not None:
                torch.nn.utils.clip_grads_with_norm_(self._learning, stage.max_gradient_norm, gradient_norm)
            for group in self._optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            with told_with_step(stage.name, step + 1):
                self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss, norm, told

    def _backward(self, step: int, index: int, row: PackedBatch, positions: Any, weights: Any) -> tuple[Any, bool]:
        """Add the gradient of a row's share of the loss; returns that share, and whether anything learns from it.

        Nothing does from a row of text alone where only the vision tower or the projector learns.
        """
        import torch

        # Seeded by its place in the plan, so that dropout depends on neither ranks, workers nor a resume.
        # For a GPU that is not there torch.manual_seed would note where in the program it was asked, each time.
        seeded: Any = torch.default_generator if self._device.type == "cpu" else torch
        seeded.manual_seed(_row_seed(self._context.seed, step, index))
        compute = self._losses.of_row(row, positions, weights, counts=index >= 0)
        with told_with_row(self._stage.name, step + 1, index + 1, row, self._stage.activation_checkpointing):
            with self._arithmetic():
                loss = self._forward(compute)
            if loss.requires_grad:
                loss.backward()
        return loss.detach(), loss.requires_grad

    def _pass_along(self, step: int) -> None:
        """Take part in gathering the layers, as ranks with a row do in this round, without adding to the gradient."""
        if self._stand_in is None:
            rows = (
                self._batches.row(s, i)
                for s in range(self._batches.num_steps)
                for i in range(self._batches.num_rows(s))
            )
            self._stand_in = next(row for row in rows if len(row))
        self._backward(step, -1, self._stand_in, np.zeros(1, dtype=np.int64), np.zeros(1))

    def _arithmetic(self) -> Any:
        if self._precision != "bf16-mixed":
            return contextlib.nullcontext()
        import torch

        return torch.autocast(self._device.type, dtype=torch.bfloat16)

    # -- a bad loss ----------------------------------------------------------------------------------------------

    def _bad_step(self, step: int, rows: list[tuple[int, PackedBatch]], anomaly: str) -> None:
        own = [sample_id for _, row in rows for sample_id in row.sample_ids]
        ids = [sample_id for part in self._ranks.gather(own) for sample_id in part]
        shown = shown_ids(ids)
        if self._stage.on_bad_loss == "stop":
            raise InfimedError(
                f"stage '{self._stage.name}', step {step + 1}: {anomaly}; samples of the step: {shown}; look at them, "
                "lower the learning rate, or set on_bad_loss: skip"
            )
        self._tally.skip(step + 1, anomaly, ids)
        self._say(f"step {step + 1} was skipped: {anomaly}; samples of the step: {shown}")

    # -- state ---------------------------------------------------------------------------------------------------

    def _resume(self) -> int:
        """Go on from the newest good state, or from what ``continue_from`` names; returns the finished steps."""
        began: int | None = None
        if self._maker is not None:
            # What continue_from names is the reference, on a resume too.
            began = self._states.begin() if self._stage.continue_from is not None else None
            self._maker.begin()
        start, facts = self._states.load()
        if not facts:
            self._resumed_from = self._states.begin() if began is None else began
            return self._resumed_from
        self._tally.restore(facts)
        self._kept.restore(facts)
        self._losses.restore(facts)
        self._validation.entries = facts.get("evaluations", [])
        self._validation.seconds_before = facts.get("evaluation_seconds", 0.0)
        self._seconds_before, self._waited_before = facts["seconds"], facts["waited"]
        self._resumed_from = self._last_saved = start
        return start

    def _save(self, step: int) -> None:
        if step == self._last_saved:
            return
        tally = self._tally.state()
        self._states.save(
            step,
            lambda: {
                **tally,
                **self._losses.state(),
                "seconds": self._seconds(),
                "waited": self._waited_before + self._loader.waited,
                **self._validation.facts(),
                **self._kept.state(),
            },
        )
        # On every rank: they must agree on whether the next state is written.
        self._last_saved = step
        if self._timer is not None:
            self._timer.saved()

    # -- telling -------------------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        if self._ranks.is_first:
            self._context.emit("message", {"text": text})

    def _tell(
        self, step: int, loss: float | None, norm: float | None, factor: float, told: dict[str, JsonValue]
    ) -> None:
        entry = {
            "step": step + 1,  # told steps count from 1, so that step N is the one after which N are done
            "loss": loss,
            "learning_rate": max(group["peak"] for group in self._optimizer.param_groups) * factor,
            "learning_rates": {group["name"]: group["peak"] * factor for group in self._optimizer.param_groups},
            "gradient_norm": norm,
            "tokens": int(self._tally.totals["tokens"]),
            **told,
        }
        self._tally.curve.append(entry)
        if self._ranks.is_first:
            self._context.emit("progress", {"done": step + 1, "total": self._batches.num_steps, "unit": "steps"})
            self._context.emit("log", entry)

    def _seconds(self) -> float:
        """Seconds of training, over all runs of the stage; what measuring took is no part of them."""
        return self._seconds_before + time.perf_counter() - self._started - self._validation.seconds

    def _facts(self) -> dict[str, JsonValue]:
        seconds, tally, size = self._seconds(), self._tally, self._ranks.size
        waited = self._ranks.sum([self._loader.waited])[0] / size + self._waited_before
        peak = self._settings.peak_flops or peak_flops(self._device)
        return {
            "steps": self._done,
            "resumed_from": self._resumed_from,
            **stage_facts(tally.totals, seconds, size, peak),
            "dropped": dict(tally.dropped()),
            "lost_samples": dict(Counter(tally.lost().values())),
            "skipped_steps": list(tally.skipped),
            "rows_without_gradient": tally.rows_without_gradient,
            "rank": self._ranks.rank,
            "ranks": size,
            "parallel": ("fsdp2" if self._sharded else "ddp") if size > 1 else "none",
            "device": str(self._device),
            "precision": self._precision,
            "loss_kernel": self._kernel,
            "data_wait_share": rate(waited, seconds),
            "peak_memory_bytes": peak_memory(self._device),
            **curve_summary(self._tally.curve),
            **self._losses.summary(self._tally.curve),
            **self._validation.facts(),
            **(self._maker.summary(tally.curve, self._validation.entries, self._say) if self._maker else {}),
            **self._ended,
        }


def _row_seed(seed: int, step: int, index: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{step}/{index}".encode(), digest_size=6).digest(), "big")
