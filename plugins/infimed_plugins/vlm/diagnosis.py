"""What InfiMed knows of a checkpoint before anything is trained: `infimed doctor`."""

from __future__ import annotations

from typing import Any


def diagnose(checkpoint: str, revision: str | None = None) -> dict[str, Any]:
    """Facts about a checkpoint and its isolation verdict; only its configuration is read.

    Raises:
        DataError: there is no such checkpoint.
    """
    from infimed_plugins.vlm.checkpoint import read_config
    from infimed_plugins.vlm.families import FAMILIES, family_of
    from infimed_plugins.vlm.finding import base_of, find_checkpoint
    from infimed_plugins.vlm.isolation import verdict

    path = base_of(find_checkpoint(checkpoint, revision))
    config = read_config(path)
    family = family_of(config)
    result = verdict(config)
    return {
        "checkpoint": str(path),
        "model_type": config.model_type,
        "known_family": family is not None,
        "takes_images": bool(family and family.takes_images),
        "packable": result.packable,
        "explanation": result.explanation,
        "logits_difference": result.logits,
        "gradients_difference": result.gradients,
        "known_families": sorted(FAMILIES),
    }
