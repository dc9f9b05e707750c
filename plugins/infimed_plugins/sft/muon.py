"""The optimizer ``muon``: orthogonal steps for the matrices of the layers, AdamW for everything else."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from pydantic import Field

from infimed_core import Optimizer

OUTSIDE = ("embeddings",)
"""Groups whose matrices are tables of rows, not maps between layers."""


class Muon(Optimizer):
    """Muon (torch.optim.Muon) for matrices of the layers, AdamW for embeddings, convolutions, biases and norms.

    ``learning_rate`` is AdamW's; a matrix of m x n moves by ``0.2 * sqrt(max(m, n))`` times it, so that the same rate
    serves both (Moonshot's scaling, torch's ``match_rms_adamw``).
    """

    momentum: float = Field(default=0.95, ge=0.0, lt=1.0, description="Muon's momentum (Nesterov's).")
    betas: tuple[float, float] = Field(default=(0.9, 0.95), description="AdamW's averaging constants.")

    def build(self, groups: list[dict[str, Any]]) -> Any:
        """Both optimizers, as one."""
        import torch

        class Both(torch.optim.Optimizer):
            """Two optimizers that share one table of states."""

            def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
                self.parts, self.state, self.defaults = parts, defaultdict(dict), {}
                self.param_groups = [group for part in parts for group in part.param_groups]
                for part in parts:
                    part.state = self.state

            def step(self, closure: Any = None) -> None:  # type: ignore[override]
                """One step of each."""
                for part in self.parts:
                    part.step()

            def zero_grad(self, set_to_none: bool = True) -> None:
                """Forget the gradients."""
                for part in self.parts:
                    part.zero_grad(set_to_none=set_to_none)

        matrices: list[dict[str, Any]] = []
        others: list[dict[str, Any]] = []
        for group in groups:
            is_matrix = [p.ndim == 2 and group["name"] not in OUTSIDE for p in group["params"]]
            for chosen, wanted in ((matrices, True), (others, False)):
                members = [p for p, fits in zip(group["params"], is_matrix, strict=True) if fits is wanted]
                if members:
                    chosen.append({**group, "params": members})
        parts: list[torch.optim.Optimizer] = []
        if matrices:
            parts.append(torch.optim.Muon(matrices, momentum=self.momentum, adjust_lr_fn="match_rms_adamw"))
        if others:
            parts.append(torch.optim.AdamW(others, betas=self.betas))
        return Both(parts)
