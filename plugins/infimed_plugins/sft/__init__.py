"""The staged trainer: continual pre-training and supervised fine-tuning over packed rows."""

from __future__ import annotations

from pathlib import Path

from infimed_core import RunEvent, hookimpl


@hookimpl
def infimed_trainers() -> dict[str, str]:
    """Offer ``staged``."""
    return {"staged": "infimed_plugins.sft.trainer:StagedTrainer"}


@hookimpl
def infimed_objectives() -> dict[str, str]:
    """Offer ``cross-entropy``."""
    return {"cross-entropy": "infimed_plugins.sft.cross_entropy:CrossEntropy"}


@hookimpl
def infimed_optimizers() -> dict[str, str]:
    """Offer ``muon``."""
    return {"muon": "infimed_plugins.sft.muon:Muon"}


@hookimpl
def infimed_schedules() -> dict[str, str]:
    """Offer ``inverse-square-root``."""
    return {"inverse-square-root": "infimed_plugins.sft.inverse_square_root:InverseSquareRoot"}


@hookimpl
def infimed_curricula() -> dict[str, str]:
    """Offer ``by-length`` and ``by-score``."""
    module = "infimed_plugins.sft.curricula"
    return {"by-length": f"{module}:ByLength", "by-score": f"{module}:ByScore"}


@hookimpl
def infimed_augmentations() -> dict[str, str]:
    """Offer ``intensity``."""
    return {"intensity": "infimed_plugins.sft.augmenting:Intensity"}


@hookimpl
def infimed_run_event(event: RunEvent) -> None:
    """Let ``checkpoints/latest`` name the newest checkpoint of the run."""
    if event.kind in ("step_finished", "step_skipped"):
        directory = Path(event.directory)
        if (directory / "checkpoints").is_dir():
            from infimed_plugins.sft.kept import point_latest_of_run

            point_latest_of_run(directory)


@hookimpl
def infimed_commands() -> dict[str, str]:
    """``infimed preview``."""
    return {"preview": "infimed_plugins.sft.preview_command:preview"}
