"""Variants of one run file, run one after the other in directories beside each other; what is equal is done once."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infimed_core.api.component import canonical_json
from infimed_core.api.reporting import RunEvent
from infimed_core.errors import InfimedError
from infimed_core.plugins import Registry
from infimed_core.run import run
from infimed_core.runfile.loading import LEFT_OUT, load_run_file
from infimed_core.runfile.plan import Plan
from infimed_core.runfile.sections import SweepSection
from infimed_core.store.artifacts import digest
from infimed_core.store.record import read_record

UNCHANGED = "unchanged"
SEED = "run.seed"
_PLACES = ("artifacts", "checkpoints")


@dataclass(frozen=True)
class Member:
    """One run of a sweep: a variant with one seed.

    Attributes:
        changes: values by path, ``LEFT_OUT`` where something is dropped; without the run's seed.
    """

    variant: str
    seed: int
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The run's name."""
        return f"{self.variant}-seed{self.seed}"


@dataclass(frozen=True)
class Sweep:
    """What is run: the first variant is the one that the others are compared with."""

    source: Path
    directory: Path
    members: tuple[Member, ...]

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the variants, in order."""
        return tuple(dict.fromkeys(member.variant for member in self.members))


def parse_grid(options: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """``PATH=VALUE,VALUE`` options as values by path; each value is YAML, commas inside brackets do not part.

    Raises:
        InfimedError: an option has no path or no value, or a value is no YAML.
    """
    grid: dict[str, tuple[Any, ...]] = {}
    for option in options:
        path, sign, text = option.partition("=")
        if not sign or not path or not text:
            raise InfimedError(f"--grid {option}: write PATH=VALUE,VALUE, as in packing.with.row_tokens=256,512")
        if path in grid:
            raise InfimedError(f"--grid {path}: is given twice; put all its values into one")
        try:
            grid[path] = tuple(yaml.safe_load(f"[{text}]"))
        except yaml.YAMLError:
            raise InfimedError(f"--grid {option}: a value is no YAML; put text with signs into quotes") from None
    return grid


def plan_sweep(
    source: Path,
    registry: Registry,
    grid: Mapping[str, Sequence[Any]],
    directory: Path | None,
    overrides: Mapping[str, Any] | None = None,
    check_only: bool = False,
) -> Sweep:
    """The runs of a sweep, every one of them checked before the first begins.

    ``grid`` adds to the file's ``sweep.grid`` and wins where both name a path; ``overrides`` are for every run alike.
    With ``check_only`` nothing need vary yet.

    Raises:
        InfimedError: nothing varies, or a variant is no good run file; the message names it.
    """
    plan = load_run_file(source, registry, dict(overrides or {}))
    section = plan.file.sweep or SweepSection()
    own: dict[str, Sequence[Any]] = {**section.grid, **grid}
    seeds = [_seed(value) for value in own.pop(SEED, (plan.file.run.seed,))]
    named: dict[str, dict[str, Any]] = {UNCHANGED: {}} if section.variants or not own else {}
    for name, variant in section.variants.items():
        named[name] = {**variant.set, **dict.fromkeys(variant.drop, LEFT_OUT)}
    changes = {**named, **_combinations(own)}
    if len(changes) * len(seeds) < 2 and not check_only:
        raise InfimedError(
            f"{source}: nothing varies; give --grid PATH=VALUE,VALUE, or a section 'sweep:' with variants"
        )
    members = tuple(Member(name, seed, change) for name, change in changes.items() for seed in seeds)
    where = directory or Path(plan.file.run.directory) / f"{plan.file.run.name}-sweep"
    sweep = Sweep(source, where, members)
    plans, told = [], dict[str, None]()
    for member in members:
        try:
            plans.append(load_member(sweep, member, registry, overrides))
        except InfimedError as error:
            told[str(error)] = None  # the same for every seed
    if told:
        raise InfimedError("\n".join(told))
    if not any(one.file.evaluation for one in plans) and not check_only:
        raise InfimedError(
            f"{source}: a sweep compares graded models, and no variant grades any; add a section 'evaluation:'"
        )
    return sweep


def _seed(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InfimedError(f"{SEED}: '{value}' is no whole number")
    return value


def _combinations(grid: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    """Every combination of the grid's values under a name made of what differs."""
    found: dict[str, dict[str, Any]] = {}
    if not grid:
        return found
    short = [path.rsplit(".", 1)[-1] for path in grid]
    labels = [name if short.count(name) == 1 else path for name, path in zip(short, grid, strict=True)]
    for values in itertools.product(*grid.values()):
        change = dict(zip(grid, values, strict=True))
        text = "_".join(f"{label}-{_short(value)}" for label, value in zip(labels, values, strict=True))
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._") or "variant"
        if len(name) > 80 or name in found or name == UNCHANGED:
            name = f"{name[:60]}-{digest(canonical_json(change))[:6]}"
        found[name] = change
    return found


def _short(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)


def load_member(sweep: Sweep, member: Member, registry: Registry, overrides: Mapping[str, Any] | None = None) -> Plan:
    """The checked run file of a member.

    Raises:
        InfimedError: it is no good run file; the message begins with the variant's name.
    """
    changes = {
        **(overrides or {}),
        **member.changes,
        "run.name": member.name,
        "run.directory": str(sweep.directory),
        SEED: member.seed,
    }
    try:
        return load_run_file(sweep.source, registry, changes)
    except InfimedError as error:
        raise InfimedError(f"variant '{member.variant}': {error}") from None


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
        path = sweep.directory / member.name
        for other in sweep.members[: number - 1]:
            _share(sweep.directory / other.name, path)
        try:
            run(plan, registry, listen)
        except Exception as error:
            failures[member.name] = f"{type(error).__name__}: {error}"
            tell(f"{member.name} failed: {failures[member.name]}")
    return failures


def is_done(path: Path) -> bool:
    """Whether a run's directory holds a finished run."""
    try:
        return read_record(path).status == "done"
    except InfimedError:
        return False


def _share(source: Path, target: Path) -> None:
    """Give a run what another finished, by hard links: what an artifact was made from is in its name."""
    for place in _PLACES:
        for seal in sorted((source / place).glob("*/artifact.json")):
            copy = target / place / seal.parent.name
            if (copy / seal.name).exists():
                continue
            shutil.rmtree(copy, ignore_errors=True)
            # The seal comes last: an artifact without it is not one.
            for file in (*(path for path in seal.parent.rglob("*") if path.is_file() and path != seal), seal):
                place_of = copy / file.relative_to(seal.parent)
                place_of.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(file, place_of)
                except OSError:
                    shutil.copyfile(file, place_of)
