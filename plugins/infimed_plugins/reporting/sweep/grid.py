"""The variants of a run file that its ``sweep:`` section, and a grid, ask for; each is a run file of its own."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infimed_core import LEFT_OUT, InfimedError, Plan, Registry, canonical_json, load_run_file, parse_value

UNCHANGED = "unchanged"
SEED = "run.seed"


@dataclass(frozen=True)
class RunVariant:
    """A variant of a run file with one seed.

    Attributes:
        changes: values by path, a mark where something is dropped (``shown`` says so in words); without the seed.
    """

    variant: str
    seed: int
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The run's name."""
        return f"{self.variant}-seed{self.seed}"

    @property
    def shown(self) -> dict[str, Any]:
        """The changes for people."""
        return {path: "(left out)" if value is LEFT_OUT else value for path, value in self.changes.items()}


def variants_of(plan: Plan, grid: Mapping[str, Sequence[Any]]) -> tuple[RunVariant, ...]:
    """The variants of a run file, each with every seed; the first is the one the others are compared with.

    ``grid`` (values by path) adds to the file's ``sweep.grid`` and wins where both name a path.

    Raises:
        InfimedError: a seed is no whole number.
    """
    section = plan.file.sweep
    values: dict[str, Sequence[Any]] = {**(section.grid if section is not None else {}), **grid}
    changed = section.variants if section is not None else {}
    seeds = [_seed(value) for value in values.pop(SEED, (plan.file.run.seed,))]
    changes: dict[str, dict[str, Any]] = {UNCHANGED: {}} if changed or not values else {}
    for name, variant in changed.items():
        changes[name] = {**variant.set, **dict.fromkeys(variant.drop, LEFT_OUT)}
    changes |= _combinations(values)
    return tuple(RunVariant(name, seed, change) for name, change in changes.items() for seed in seeds)


def parse_grid(options: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """``PATH=VALUE,VALUE`` options as values by path; commas inside brackets do not part values.

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
            grid[path] = tuple(parse_value(f"[{text}]"))
        except yaml.YAMLError:
            raise InfimedError(f"--grid {option}: a value is no YAML; put text with signs into quotes") from None
    return grid


def load_variant(source: Path, registry: Registry, variant: RunVariant, overrides: Mapping[str, Any]) -> Plan:
    """The checked run file of a variant; ``overrides`` are for every variant alike, its own changes win.

    Raises:
        InfimedError: it is no good run file; the message begins with the variant's name.
    """
    try:
        return load_run_file(source, registry, {**overrides, **variant.changes, SEED: variant.seed})
    except InfimedError as error:
        raise InfimedError(f"variant '{variant.variant}': {error}") from None


def load_variants(
    source: Path, registry: Registry, variants: Sequence[RunVariant], overrides: Mapping[str, Any]
) -> list[Plan]:
    """The checked run files of all variants.

    Raises:
        InfimedError: some are no good run files; the message has every mistake, once for all seeds.
    """
    plans: list[Plan] = []
    mistakes: dict[str, None] = {}
    for variant in variants:
        try:
            plans.append(load_variant(source, registry, variant, overrides))
        except InfimedError as error:
            mistakes[str(error)] = None
    if mistakes:
        raise InfimedError("\n".join(mistakes))
    return plans


def _seed(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InfimedError(f"{SEED}: '{value}' is no whole number")
    return value


def _combinations(grid: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    """Every combination of the grid's values under a name made of what differs."""
    combinations: dict[str, dict[str, Any]] = {}
    if not grid:
        return combinations
    last_parts = [path.rsplit(".", 1)[-1] for path in grid]
    labels = [part if last_parts.count(part) == 1 else path for part, path in zip(last_parts, grid, strict=True)]
    for values in itertools.product(*grid.values()):
        change = dict(zip(grid, values, strict=True))
        text = "_".join(f"{label}-{_short(value)}" for label, value in zip(labels, values, strict=True))
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._") or "variant"
        if len(name) > 80 or name in combinations or name == UNCHANGED:
            name = f"{name[:60]}-{hashlib.sha256(canonical_json(change).encode()).hexdigest()[:6]}"
        combinations[name] = change
    return combinations


def _short(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)
