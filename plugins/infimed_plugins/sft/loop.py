"""The steps of one stage."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import JsonValue

from infimed_core import Batches, InfimedError, PackedBatch, TrainableModel, TrainingContext, canonical_json
from infimed_plugins.sft.accounting import COUNTS, Work, curve_summary, peak_flops, peak_memory, rate, stage_facts
from infimed_plugins.sft.kernels import choose_kernel
from infimed_plugins.sft.loading import Loader
from infimed_plugins.sft.loss import row_loss, supervised
from infimed_plugins.sft.measuring import Measuring
from infimed_plugins.sft.parameters import grouped_parameters, make_optimizer
from infimed_plugins.sft.ranks import Ranks
from infimed_plugins.sft.sharding import gathered, gathered_on_first, share_of
from infimed_plugins.sft.sources import SourceLosses
from infimed_plugins.sft.stages import TrainingStage, rate_factor
from infimed_plugins.sft.state import (
    clear_unfinished,
    flatten_optimizer,
    newest_state,
    restore_optimizer,
    write_state,
)
from infimed_plugins.sft.trouble import find_trouble, shown_ids

if TYPE_CHECKING:
    from infimed_plugins.sft.trainer import StagedTrainer

MOST_FAULTS_TOLD = 20


class Loop:
    """One stage from its first step, or from its newest state, to its last step."""

    def __init__(
        self,
        trainer: StagedTrainer,
        model: TrainableModel,
        batches: Batches,
        stage: TrainingStage,
        context: TrainingContext,
        chosen: dict[str, dict[str, Any]],
        precision: str,
        ranks: Ranks,
        forward: Callable[[Callable[[], Any]], Any] | None = None,
    ) -> None:
        import torch

        self._trainer, self._model, self._batches = trainer, model, batches
        self._stage, self._context = stage, context
        self._ranks = ranks
        self._sharded, self._forward = forward is not None, forward or (lambda compute: compute())
        self._stand_in: PackedBatch | None = None
        self._parameters = {name: p for members in chosen.values() for name, p in members.items()}
        self._names = {parameter: name for name, parameter in self._parameters.items()}
        self._learning = list(self._parameters.values())
        self._device = self._learning[0].device
        self._precision = precision
        self._optimizer = make_optimizer(chosen, stage)
        self._head = model.output_embedding()
        self._kernel = choose_kernel(trainer.loss_kernel, self._device.type, self._head, stage.loss_weighting)
        self._sources = SourceLosses(self._device)
        self._work = Work(model, grouped_parameters(model), {group for group, members in chosen.items() if members})
        self._totals = dict.fromkeys(COUNTS, 0.0)
        self._curve: list[dict[str, Any]] = []
        self._dropped: dict[str, int] = {}
        self._dropped_before: dict[str, int] = {}
        self._skipped: list[dict[str, Any]] = []
        self._seconds_before = self._waited_before = 0.0
        self._told: set[str] = set()
        self._resumed_from, self._last_saved = 0, -1
        self._measuring = Measuring(model, context, ranks, self._forward, self._sharded, self._arithmetic)
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    # -- the steps -----------------------------------------------------------------------------------------------

    def run(self) -> dict[str, JsonValue]:
        """Train to the end; returns the facts for the record."""
        stage, batches, ranks = self._stage, self._batches, self._ranks
        start = self._resume()
        workers = self._trainer.num_workers
        self._loader = Loader(batches, start, ranks.rank, ranks.size, workers, self._trainer.rows_ahead)
        self._started = time.perf_counter()
        steps = iter(self._loader)
        try:
            for step, rows in steps:
                self._step(step, rows)
                self._measuring.after(step, batches.num_steps)
                done = step + 1
                if done % stage.save_every == 0 and done < batches.num_steps:
                    self._save(done)
        finally:
            steps.close()  # type: ignore[attr-defined]
        return self._facts()

    def _step(self, step: int, rows: list[tuple[int, PackedBatch]]) -> None:
        import torch

        stage, ranks, context = self._stage, self._ranks, self._context
        targets = [supervised(row, stage.loss_weighting) for _, row in rows]
        counts = self._count(rows)
        whole_weight, stopped, *counts = ranks.sum(
            [sum(float(weights.sum()) for _, weights in targets), float(context.stopped.is_set()), *counts]
        )
        if stopped:
            self._save(step)
            raise KeyboardInterrupt
        for name, count in zip(COUNTS, counts, strict=True):
            self._totals[name] += count
        loss = norm = None
        by_source: dict[str, float] = {}
        factor = rate_factor(stage, step, self._batches.num_steps)
        if whole_weight > 0.0:
            total = torch.zeros((), dtype=torch.float32, device=self._device)
            for (index, row), (positions, weights) in zip(rows, targets, strict=True):
                if len(positions):
                    total += self._backward(step, index, row, positions, weights / whole_weight)
                elif self._sharded:
                    self._pass_along(step)
            if self._sharded:
                for _ in range(len(rows), -(-self._batches.num_rows(step) // ranks.size)):
                    self._pass_along(step)
            ranks.sum_gradients(self._learning)
            gradients = [parameter.grad for parameter in self._learning if parameter.grad is not None]
            gradient_norm = torch.nn.utils.get_total_norm(gradients)
            parts = ranks.gather({"loss": total.item(), "sources": self._sources.of_step()})
            loss, norm = sum(part["loss"] for part in parts), gathered(gradient_norm).item()
            by_source = self._sources.merged([part["sources"] for part in parts])
            trouble = find_trouble(loss, norm, self._curve, stage.spike)
            if trouble:
                self._bad_step(step, rows, trouble)
                loss = loss if math.isfinite(loss) else None
                norm = norm if math.isfinite(norm) else None
            else:
                if stage.max_gradient_norm is not None:
                    torch.nn.utils.clip_grads_with_norm_(self._learning, stage.max_gradient_norm, gradient_norm)
                for group in self._optimizer.param_groups:
                    group["lr"] = group["peak"] * factor
                self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        else:
            self._skipped.append({"step": step, "reason": "no_supervised_tokens"})
        self._tell(step, loss, norm, factor, by_source)

    def _backward(self, step: int, index: int, row: PackedBatch, positions: Any, weights: Any) -> Any:
        """Add the gradient of a row's share of the loss; returns that share."""
        import torch

        # Seeded by its place in the plan, so that dropout depends on neither ranks, workers nor a resume.
        torch.manual_seed(_row_seed(self._context.seed, step, index))
        device = self._device
        place = torch.from_numpy(positions).to(device)
        labels = torch.from_numpy(row.labels[positions].clip(min=0)).to(device)
        weight = torch.from_numpy(weights).to(device=device, dtype=torch.float32)
        parts, sums = self._sources.of_row(row, positions, counts=index >= 0)

        def compute() -> Any:
            hidden = self._model.hidden_states(row)
            return row_loss(self._kernel, hidden.index_select(0, place), self._head, labels, weight, parts, sums)

        with self._arithmetic():
            loss = self._forward(compute)
        loss.backward()
        return loss.detach()

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

    def _count(self, rows: list[tuple[int, PackedBatch]]) -> list[float]:
        """The step's ``COUNTS`` on this rank; faults are counted and told on the way."""
        counts = dict.fromkeys(COUNTS, 0.0)
        for _, row in rows:
            counts["rows"] += 1
            counts["tokens"] += len(row) - row.num_padding
            counts["padding"] += row.num_padding
            counts["supervised_tokens"] += row.num_supervised
            counts["images"] += len(row.visual_tokens)
            counts["samples"] += len(row.sample_ids)
            counts["flops"] += self._work.of(row, row.num_supervised)
            for fault in row.dropped:
                self._dropped[fault.code] = self._dropped.get(fault.code, 0) + 1
                if fault.sample_id not in self._told and len(self._told) < MOST_FAULTS_TOLD:
                    self._told.add(fault.sample_id)  # once, however often its turn comes
                    where = f" ({fault.where})" if fault.where else ""
                    self._say(f"sample {fault.sample_id}{where} was left out: {fault.code}: {fault.detail}")
        return list(counts.values())

    # -- a bad loss ----------------------------------------------------------------------------------------------

    def _bad_step(self, step: int, rows: list[tuple[int, PackedBatch]], trouble: str) -> None:
        own = [sample_id for _, row in rows for sample_id in row.sample_ids]
        ids = [sample_id for part in self._ranks.gather(own) for sample_id in part]
        shown = shown_ids(ids)
        if self._stage.on_bad_loss == "stop":
            raise InfimedError(
                f"stage '{self._stage.name}', step {step}: {trouble}; samples of the step: {shown}; look at them, "
                "lower the learning rate, or set on_bad_loss: skip"
            )
        self._skipped.append({"step": step, "reason": trouble, "sample_ids": list(ids)})
        self._say(f"step {step} was skipped: {trouble}; samples of the step: {shown}")

    # -- state ---------------------------------------------------------------------------------------------------

    def _fingerprint(self) -> str:
        """Changes with whatever decides the weights; not with workers, ranks, or how often state is kept."""
        without = {"save_every", "keep", "activation_checkpointing", "evaluate"}
        stage = self._stage.model_dump(mode="json", exclude=without)
        names = {name: list(parameter.shape) for name, parameter in self._parameters.items()}
        facts = [self._batches.plan_hash, stage, self._context.seed, self._precision, names]
        return hashlib.sha256(canonical_json(facts).encode()).hexdigest()

    def _resume(self) -> int:
        """Load the newest good state; returns the number of finished steps."""
        import torch

        directory = self._context.directory
        if self._ranks.is_first:
            clear_unfinished(directory)
        self._ranks.wait()
        state = newest_state(directory, self._fingerprint(), self._say)
        start = state.step if state else 0
        if self._ranks.sum([float(start)])[0] != start * self._ranks.size:
            raise InfimedError(f"{directory}: the ranks do not see the same training state; use a shared directory")
        if state is None:
            return 0
        held = self._tensors()
        with torch.no_grad():
            for name, tensor in state.weights.items():
                held[name].copy_(share_of(tensor, held[name]))
        restore_optimizer(self._optimizer, self._parameters, state.moments)
        facts = state.facts
        self._totals, self._curve, self._skipped = facts["totals"], facts["curve"], facts["skipped"]
        self._sources.totals = {name: (count, total) for name, (count, total) in facts["sources"].items()}
        self._dropped_before = facts["dropped"]
        self._measuring.entries = facts.get("evaluations", [])
        self._measuring.seconds_before = facts.get("evaluation_seconds", 0.0)
        self._seconds_before, self._waited_before = facts["seconds"], facts["waited"]
        self._resumed_from = self._last_saved = start
        self._say(f"stage '{self._stage.name}' goes on after step {start} of {self._batches.num_steps}")
        return start

    def _tensors(self) -> dict[str, Any]:
        """What learns, and every buffer of the model that a checkpoint holds."""
        held = self._model.module.state_dict(keep_vars=True)
        buffers = {name: held[name] for name, _ in self._model.module.named_buffers() if name in held}
        return {**buffers, **self._parameters}

    def _save(self, step: int) -> None:
        if step == self._last_saved:
            return
        dropped = self._all_dropped()
        waited = self._waited_before + self._loader.waited
        tensors = gathered_on_first(self._tensors(), self._ranks)
        moments = gathered_on_first(flatten_optimizer(self._optimizer, self._names), self._ranks)
        problem = None
        if self._ranks.is_first:
            facts = {
                "fingerprint": self._fingerprint(),
                "totals": self._totals,
                "curve": self._curve,
                "skipped": self._skipped,
                "sources": self._sources.totals,
                "dropped": dropped,
                "seconds": self._seconds(),
                "waited": waited,
                **self._measuring.facts(),
            }
            try:
                write_state(self._context.directory, step, facts, tensors, moments, self._stage.keep)
            except InfimedError as error:
                problem = str(error)
        self._ranks.agree(problem)
        # On every rank: they must agree on whether the next state is written.
        self._last_saved = step

    # -- telling -------------------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        if self._ranks.is_first:
            self._context.emit("message", {"text": text})

    def _tell(
        self, step: int, loss: float | None, norm: float | None, factor: float, by_source: dict[str, float]
    ) -> None:
        entry = {
            "step": step,
            "loss": loss,
            "learning_rate": max(group["peak"] for group in self._optimizer.param_groups) * factor,
            "gradient_norm": norm,
            "tokens": int(self._totals["tokens"]),
            **({"loss_by_source": by_source} if by_source else {}),
        }
        self._curve.append(entry)
        if self._ranks.is_first:
            self._context.emit("progress", {"done": step + 1, "total": self._batches.num_steps, "unit": "steps"})
            self._context.emit("log", entry)

    def _seconds(self) -> float:
        """Seconds of training, over all runs of the stage; what measuring took is no part of them."""
        return self._seconds_before + time.perf_counter() - self._started - self._measuring.seconds

    def _all_dropped(self) -> dict[str, int]:
        merged = dict(self._dropped_before)
        for part in self._ranks.gather(self._dropped):
            for code, count in part.items():
                merged[code] = merged.get(code, 0) + count
        return merged

    def _facts(self) -> dict[str, JsonValue]:
        seconds, totals, size = self._seconds(), self._totals, self._ranks.size
        waited = self._ranks.sum([self._loader.waited])[0] / size + self._waited_before
        peak = self._trainer.peak_flops or peak_flops(self._device)
        return {
            "steps": self._batches.num_steps,
            "resumed_from": self._resumed_from,
            **stage_facts(totals, seconds, size, peak),
            "dropped": dict(self._all_dropped()),
            "skipped_steps": list(self._skipped),
            "rank": self._ranks.rank,
            "ranks": size,
            "parallel": ("fsdp2" if self._sharded else "ddp") if size > 1 else "none",
            "device": str(self._device),
            "precision": self._precision,
            "loss_kernel": self._kernel,
            "data_wait_share": rate(waited, seconds),
            "peak_memory_bytes": peak_memory(self._device),
            **curve_summary(self._curve),
            "sources": self._sources.summary(self._curve),
            **self._measuring.facts(),
        }


def _row_seed(seed: int, step: int, index: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{step}/{index}".encode(), digest_size=6).digest(), "big")
