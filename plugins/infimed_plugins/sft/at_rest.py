"""A model within which nothing is learned and nothing dropped out, as it is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def at_rest(module: Any) -> Iterator[None]:
    """Evaluation mode and no gradients; afterwards every part of the module is in the mode it had."""
    import torch

    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True
