"""How a stage ends when something breaks: one line with the stage, the step, the samples and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from infimed_core import InfimedError, PackedBatch
from infimed_plugins.sft.loss_anomaly import shown_ids

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or this machine had no memory left; torch tells the second as a plain RuntimeError."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)


@contextmanager
def told_with_row(stage: str, step: int, index: int, row: PackedBatch, recomputes: bool) -> Iterator[None]:
    """Say of an error while a row is computed which row it is, and what would help.

    Raises:
        InfimedError: in place of any other exception.
    """
    try:
        yield
    except InfimedError:
        raise
    except Exception as error:
        place = f"stage '{stage}', step {step}, row {index}"
        if is_out_of_memory(error):
            size = f"{len(row):,} tokens and {len(row.visual_tokens):,} images"
            less = "" if recomputes else "set activation_checkpointing: true, or "
            images = ", or row_patches and row_images" if row.visual_tokens else ""
            raise InfimedError(
                f"{place}: out of memory at a row of {size} (samples {shown_ids(row.sample_ids)}); {less}lower "
                f"packing.row_tokens{images}, and run the same command again: a changed setting begins the stage anew"
            ) from error
        first = next(iter(str(error).strip().splitlines()), "")[:300]
        raise InfimedError(
            f"{place} (samples {shown_ids(row.sample_ids)}): the model failed: {type(error).__name__}: {first}"
        ) from error


@contextmanager
def told_with_step(stage: str, step: int) -> Iterator[None]:
    """Say of a lack of memory in the optimizer that it was there, and what would help."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise InfimedError(
            f"stage '{stage}', step {step}: out of memory in the optimizer, which holds two numbers for every weight "
            "that learns; use lora, name fewer groups in trainable, or share the weights out with parallel: fsdp2"
        ) from error


def check_weights(stage: str, step: int, weights: Mapping[str, Any]) -> None:
    """Weights that are not finite are never written.

    Raises:
        InfimedError: one is not; the message names the first.
    """
    import torch

    for name, weight in weights.items():
        own = weight.to_local() if hasattr(weight, "to_local") else weight
        if not torch.isfinite(own).all():
            raise InfimedError(
                f"stage '{stage}', step {step}: the weights are not finite any more (first: {name}), so they are not "
                "written; lower learning_rate, or set max_gradient_norm; the states before this step are kept"
            )


def check_start(stage: str, module: Any) -> None:
    """A stage never begins with weights that are not finite: every loss would be none.

    Raises:
        InfimedError: one is not; the message names the first.
    """
    import torch

    for name, weight in module.named_parameters():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise InfimedError(
                f"stage '{stage}': the weights that it begins with are not finite (first: {name}); the checkpoint that "
                "they come from is damaged, or was trained to that: take another, or an earlier one"
            )


def check_skipped(stage: str, step: int, num_steps: int, reasons: Mapping[str, int], most: float) -> None:
    """A stage that leaves out too many of its steps does not train.

    Raises:
        InfimedError: more than the share ``most`` of all steps were skipped.
    """
    count = sum(reasons.values())
    if count > most * num_steps:
        told = ", ".join(f"{number} for {reason}" for reason, number in reasons.items())
        raise InfimedError(
            f"stage '{stage}', step {step}: {count} of {num_steps} steps were skipped ({told}), more than "
            f"max_skipped_share: {most:g} allows; look at the samples named above, or raise max_skipped_share"
        )
