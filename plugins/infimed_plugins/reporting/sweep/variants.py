"""Variants of one run file, run one after the other in directories beside each other; what is equal is done once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infimed_core import InfimedError, Plan, Registry, RunEvent, load_run_file, run_plan
from infimed_plugins.reporting.sweep.grid import RunVariant, load_variant, load_variants, variants_of

_SHARED = ("artifacts", "checkpoints")
"""Folders of a run whose content another run may use, beside the media that its samples brought."""


@dataclass(frozen=True)
class Sweep:
    """What is run: the first variant is the one that the others are compared with."""

    source: Path
    directory: Path
    members: tuple[RunVariant, ...]

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the variants, in order."""
        return tuple(dict.fromkeys(member.variant for member in self.members))


def plan_sweep(source: Path, registry: Registry, grid: Mapping[str, Sequence[Any]], directory: Path | None) -> Sweep:
    """The runs of a sweep, every one of them checked before the first begins.

    ``grid`` adds to the file's ``sweep.grid`` and wins where both name a path.

    Raises:
        InfimedError: nothing varies, or a variant is no good run file; the message names it.
    """
    plan = load_run_file(source, registry)
    members = variants_of(plan, grid)
    if len(members) < 2:
        raise InfimedError(
            f"{source}: nothing varies; give --grid PATH=VALUE,VALUE, or a section 'sweep:' with variants"
        )
    if not any(variant.file.evaluation for variant in load_variants(source, registry, members, {})):
        raise InfimedError(
            f"{source}: a sweep compares graded models, and no variant grades any; add a section 'evaluation:'"
        )
    return Sweep(source, directory or Path(plan.file.run.directory) / f"{plan.file.run.name}-sweep", members)


def load_member(sweep: Sweep, member: RunVariant, registry: Registry) -> Plan:
    """The checked run file of a member, in its own directory."""
    own = {"run.name": member.name, "run.directory": str(sweep.directory)}
    return load_variant(sweep.source, registry, member, own)


def run_sweep(
    sweep: Sweep, registry: Registry, listen: Callable[[RunEvent], None], tell: Callable[[str], None]
) -> dict[str, str]:
    """Run what is not finished; returns what went wrong by run name. One that fails does not stop the others.

    Raises:
        KeyboardInterrupt: stopped by the user; the same command goes on from there.
    """
    failures: dict[str, str] = {}
    for number, member in enumerate(sweep.members, start=1):
        tell(f"[{number}/{len(sweep.members)}] {member.name}")
        plan = load_member(sweep, member, registry)
        for other in sweep.members[: number - 1]:
            _share(sweep.directory / other.name, sweep.directory / member.name)
        try:
            run_plan(plan, registry, listen)
        except Exception as error:
            failures[member.name] = f"{type(error).__name__}: {error}"
            tell(f"{member.name} failed: {failures[member.name]}")
    return failures


def _share(source: Path, target: Path) -> None:
    """Give a run what another finished, by hard links: what an artifact was made from is in its name."""
    for group in sorted((source / "media").glob("*")):  # first: samples that are there have their media
        there = {path.name for path in (target / "media" / group.name).glob("*")}
        for file in group.iterdir():
            if file.name not in there and not file.name.startswith("."):
                _link(file, target / "media" / group.name / file.name)
    for folder in _SHARED:
        for seal in sorted((source / folder).glob("*/artifact.json")):
            copy = target / folder / seal.parent.name
            if (copy / seal.name).exists() or seal.parent.is_symlink():
                continue  # a link to the newest checkpoint is each run's own
            shutil.rmtree(copy, ignore_errors=True)
            # The seal comes last: an artifact without it is not one.
            for file in (*(path for path in seal.parent.rglob("*") if path.is_file() and path != seal), seal):
                _link(file, copy / file.relative_to(seal.parent))


def _link(file: Path, linked: Path) -> None:
    linked.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, linked)
    except OSError:
        part = linked.with_name(f".{linked.name}.part")  # a copy that is cut short never bears the name
        shutil.copyfile(file, part)
        part.replace(linked)
