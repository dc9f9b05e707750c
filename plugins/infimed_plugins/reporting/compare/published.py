"""Figures that others published, each with its source: a plugin's ``published*.yaml``, or a file of your own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from infimed_core import InfimedError, Registry, Row, parse_value, read_named

FILES = re.compile(r"published(_\w+)?\.yaml")
"""Names of the files in a plugin's package that hold published figures."""


class Source(Row):
    """Where figures come from, and what is known of how they were made."""

    title: str
    address: str = ""
    protocol: str = Field(description="What is known of split, prompts, scoring and judge; say so where it is unknown.")

    @property
    def shown(self) -> str:
        """One line for people."""
        return f"{self.title}{f' ({self.address})' if self.address else ''}. {self.protocol}"


class PublishedRow(Row):
    """One model's published figures, in [0, 1], by the harness's own benchmark names."""

    model: str
    source: str
    values: dict[str, float] = Field(min_length=1)
    note: str = ""


class Suite(Row):
    """Benchmarks whose unweighted mean people quote."""

    name: str
    benchmarks: tuple[str, ...] = Field(min_length=2)


class Published(Row):
    """A table of published figures."""

    sources: dict[str, Source] = Field(default_factory=dict)
    options: dict[str, int] = Field(
        default_factory=dict,
        description="By benchmark, how many options each question has that the figures are of.",
    )
    suites: tuple[Suite, ...] = ()
    rows: tuple[PublishedRow, ...] = ()


def read_published(text: str, where: str) -> Published:
    """Check a table; every row names a source that is there, and every value is a share.

    Raises:
        InfimedError: it does not hold what a table must.
    """
    try:
        table = Published.model_validate(parse_value(text))
    except (yaml.YAMLError, RecursionError, ValidationError) as error:
        detail = error.errors()[0] if isinstance(error, ValidationError) else None
        mistake = f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" if detail else str(error).splitlines()[0]
        raise InfimedError(f"{where}: not a table of published figures: {mistake}") from None
    for row in table.rows:
        if row.source not in table.sources:
            raise InfimedError(f"{where}: '{row.model}' names the source '{row.source}', which is not under 'sources:'")
        wrong = [name for name, value in row.values.items() if not 0 <= value <= 1]
        if wrong:
            raise InfimedError(
                f"{where}: '{row.model}', {wrong[0]}: {row.values[wrong[0]]} is no share; write 0.5 for 50%"
            )
    return table


def installed_tables(registry: Registry) -> dict[str, Published]:
    """The tables that installed plugins ship, by plugin name."""
    found = {}
    for name in registry.plugins:
        module: Any = registry.manager.get_plugin(name)
        package = getattr(module, "__package__", None)
        if package and name not in registry.files:  # a plugin of one file ships no tables
            files = sorted(
                (file for file in resources.files(package).iterdir() if FILES.fullmatch(file.name)),
                key=lambda f: f.name,
            )
            tables = [read_published(file.read_text(encoding="utf-8"), str(file)) for file in files]
            if tables:
                found[name] = Published(
                    sources={key: source for table in tables for key, source in table.sources.items()},
                    options={key: number for table in tables for key, number in table.options.items()},
                    suites=tuple(suite for table in tables for suite in table.suites),
                    rows=tuple(row for table in tables for row in table.rows),
                )
    return found


def chosen_tables(names: Sequence[str], registry: Registry) -> list[Published]:
    """The tables named: a plugin that ships one, or a YAML file.

    Raises:
        InfimedError: neither.
    """
    installed = installed_tables(registry)
    tables = []
    for name in names:
        if name in installed:
            tables.append(installed[name])
        elif Path(name).is_file():
            tables.append(read_published(read_named(Path(name)).decode("utf-8", "replace"), name))
        else:
            there = ", ".join(installed) or "none"
            raise InfimedError(
                f"--published {name}: neither a file nor a plugin with published figures (there is: {there})"
            )
    return tables
