"""The processes of a distributed run, and the sums they share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from infimed_core import InfimedError

BUCKET_BYTES = 64 * 2**20


class Ranks:
    """One process, or as many as ``accelerate launch`` or ``torchrun`` started (``WORLD_SIZE``).

    With whole copies of the model (``ddp``) only the step's gradients and a few numbers are exchanged, once a step:
    a row without images, or a rank without rows, cannot leave another waiting. With shares (``fsdp2``) see
    ``sharding.py``.
    """

    def __init__(self) -> None:
        self.rank, self.size = 0, 1
        self.device: Any = None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            import torch
            from accelerate import PartialState

            state = PartialState(cpu=not torch.cuda.is_available())
            self.rank, self.size, self.device = state.process_index, state.num_processes, state.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """Element-wise sums over all ranks, in float64."""
        if self.size == 1:
            return list(numbers)
        import torch
        from torch import distributed

        total = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        with told_plainly():
            distributed.all_reduce(total)
        return total.tolist()

    def gather(self, value: Any) -> list[Any]:
        """The JSON-like value of every rank, in their order."""
        if self.size == 1:
            return [value]
        import json

        import torch
        from torch import distributed

        # Text in a byte tensor: the object collectives of torch would pickle.
        own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(self.device)
        lengths = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.size)]
        with told_plainly():
            distributed.all_gather(lengths, torch.tensor([len(own)], device=self.device))
        longest = max(int(length) for length in lengths)
        padded = torch.zeros(longest, dtype=torch.uint8, device=self.device)
        padded[: len(own)] = own
        parts = [torch.zeros_like(padded) for _ in range(self.size)]
        with told_plainly():
            distributed.all_gather(parts, padded)
        return [
            json.loads(bytes(part[: int(length)].cpu().tolist())) for part, length in zip(parts, lengths, strict=True)
        ]

    def sum_gradients(self, parameters: Sequence[Any]) -> None:
        """Replace every gradient by its sum over the ranks; a missing one counts as zero, on one rank too.

        So the optimizer moves the same tensors whatever the number of ranks. Gradients that are shares (FSDP2)
        are sums already.
        """
        import torch
        from torch import distributed

        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self.size == 1 or hasattr(parameters[0], "full_tensor"):
            return
        for bucket in _buckets([parameter.grad for parameter in parameters]):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            with told_plainly():
                distributed.all_reduce(flat)
            start = 0
            for gradient in bucket:
                gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
                start += gradient.numel()

    def agree(self, problem: str | None) -> None:
        """Wait for every rank; raise on all of them where one has a problem.

        Raises:
            InfimedError: with the problem of the first rank that has one.
        """
        problems = [text for text in self.gather(problem) if text is not None]
        if problems:
            raise InfimedError(problems[0])

    def wait(self) -> None:
        """Wait until every rank is here."""
        self.sum([0.0])


@contextmanager
def told_plainly() -> Iterator[None]:
    """Say in one line that another rank is gone; its own output says why."""
    try:
        yield
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0].split(". ")[0][-160:] if str(error).strip() else type(error).__name__
        raise InfimedError(
            f"another process of the run is gone ({first}); look at its output, then run the same command to go on"
        ) from error


def _buckets(gradients: Sequence[Any]) -> list[list[Any]]:
    """Gradients in groups of one dtype and at most ``BUCKET_BYTES`` (one larger tensor stands alone)."""
    buckets: list[list[Any]] = []
    size = 0
    for gradient in gradients:
        own = gradient.numel() * gradient.element_size()
        if not buckets or size + own > BUCKET_BYTES or buckets[-1][0].dtype != gradient.dtype:
            buckets.append([])
            size = 0
        buckets[-1].append(gradient)
        size += own
    return buckets
