"""What a person calls a checkpoint: a directory, a run, a stage of a run, a name on the hub, or a server's address."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from infimed_core import InfimedError, Media, Model, Registry
from infimed_core.records import Run, open_run

KINDS = {".dcm": "dicom", ".dicom": "dicom", ".nii": "nifti", ".gz": "nifti"}
"""Who opens a file by the end of its name; everything else is an image."""


@dataclass(frozen=True)
class Place:
    """Where a checkpoint is. ``run`` and ``stage`` are those that made it, where it is of a run."""

    name: str
    run: Run | None = None
    stage: str = ""


def is_checkpoint(path: Path) -> bool:
    """Whether a directory holds a whole model or an adapter."""
    return (path / "config.json").is_file() or (path / "adapter_config.json").is_file()


def find_place(named: str) -> Place:
    """The checkpoint that a directory, RUN (its last stage), RUN/STAGE, RUN/STAGE@STEP or a name on the hub means.

    Raises:
        InfimedError: a run has no finished stage of that name, or kept no model of that step.
    """
    path = Path(os.path.expanduser(named))
    if is_checkpoint(path):
        return Place(str(path), *_maker(path))
    if (path / "run.json").is_file():
        return _stage_of(path, "")
    stage, _, step = path.name.partition("@")
    if step and (path.parent / "run.json").is_file():
        kept = kept_of(path.parent, stage, step)
        return Place(str(kept), *_maker(kept))
    if (path.parent / "run.json").is_file():
        return _stage_of(path.parent, path.name)
    return Place(named)


def kept_of(run: Path, stage: str, step: str) -> Path:
    """The model that a stage kept along the way: after a step, or ``best``."""
    every = [folder for folder in (run / "checkpoints").glob("*.steps") if folder.name.rsplit("-", 1)[0] == stage]
    models = [model for folder in every for model in sorted(folder.iterdir()) if is_checkpoint(model)]
    name = f"step-{int(step):09d}" if step.isdecimal() else step
    found = [model for model in models if model.name == name]
    if len(found) > 1:
        raise InfimedError(f"{run}/{stage}@{step} may be any of {', '.join(map(str, found))}; name its directory")
    if not found:
        kept = ", ".join(dict.fromkeys(model.name.removeprefix("step-").lstrip("0") for model in models)) or "none"
        raise InfimedError(f"{run}: stage '{stage}' has kept no model '{step}' (kept: {kept}); see keep_checkpoints")
    return found[0]


def _stage_of(directory: Path, stage: str) -> Place:
    run = open_run(directory)
    finished = {step.subject.get("stage", ""): place for step in run.steps("train") if (place := run.artifact(step))}
    wanted = stage or next(reversed(finished), "")
    if wanted not in finished:
        known = ", ".join(finished) or "none"
        what = f"no finished stage '{stage}'" if stage else "no finished stage"
        raise InfimedError(f"{directory}: the run has {what} (finished: {known}); train it first: infimed-run")
    return Place(str(finished[wanted]), run, wanted)


def _maker(path: Path) -> tuple[Run | None, str]:
    """The run and stage that made a checkpoint which lies in its run."""
    for above in path.resolve().parents[:3]:
        if (above / "run.json").is_file():
            run = open_run(above)
            for step in run.steps("train"):
                place = run.artifact(step)
                if place is not None and place.resolve() == path.resolve():
                    return run, step.subject.get("stage", "")
    return None, ""


def make_model(registry: Registry, named: str, **settings: object) -> Model:
    """The model behind a name, or behind a server's address.

    Raises:
        InfimedError: there is no such checkpoint.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if named.startswith(("http://", "https://")):
        for name in ("answer_max_visual_tokens", "device", "dtype", "base"):
            given.pop(name, None)
        return cast(Model, registry.make("model", "openai-compatible", {"base_url": named, **given}))
    given.pop("model", None)
    model = cast(Model, registry.make("model", "transformers", {"checkpoint": find_place(named).name, **given}))
    problems = model.problems({})
    if problems:
        raise InfimedError("; ".join(problems.values()))
    return model


def check_engine() -> None:
    """Say how to get vLLM where it is not installed.

    Raises:
        InfimedError: it is not.
    """
    if importlib.util.find_spec("vllm") is None:
        remedy = "pip install 'infimed[vllm]' on a machine with a GPU, or start a server and name it with --server"
        raise InfimedError(f"--engine vllm: vLLM is not installed here; {remedy}")


def engine_model(registry: Registry, name: str, base: Path | None, dtype: str) -> Model:
    """vLLM's engine for a checkpoint, or for an adapter on its base, as ``vllm serve --enable-lora`` has it."""
    given = {"checkpoint": name} if base is None else {"checkpoint": str(base), "adapter": name}
    return cast(Model, registry.make("model", "vllm", {**given, "dtype": dtype}))


def media_of(files: list[Path]) -> tuple[Media, ...]:
    """Files as media, by the ends of their names.

    Raises:
        InfimedError: a file is not there.
    """
    for file in files:
        if not file.is_file():
            raise InfimedError(f"{file}: no such file; --image names a picture, a DICOM file or a NIfTI volume")
    return tuple(Media(kind=KINDS.get(file.suffix.lower(), "image"), uri=str(file.absolute())) for file in files)
