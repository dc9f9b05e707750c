"""How much of the score survives when the same questions are asked in another way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infimed_core import ComponentRef, Registry, load_plugins
from infimed_core.records import Run, is_baseline
from infimed_plugins.reporting.page.answers import AnswerTables
from infimed_plugins.reporting.page.figures import mapping
from infimed_plugins.reporting.page.movements import Movement, movement


@dataclass(frozen=True)
class Survival:
    """A model on a benchmark as it is and altered, on the ``change.num`` questions that it answered both ways."""

    model: str
    plain: float
    altered: float
    change: Movement

    @property
    def share(self) -> float | None:
        """How much of the plain score is left; ``None`` where there was none."""
        return self.altered / self.plain if self.plain > 0 else None


@dataclass(frozen=True)
class RobustnessRow:
    """A benchmark, what was altered, and how each model fared."""

    benchmark: str
    alteration: str
    models: tuple[Survival | None, ...]


@dataclass(frozen=True)
class Robustness:
    """One table for a run: the models across, alterations down."""

    models: tuple[str, ...]
    rows: tuple[RobustnessRow, ...]


def robustness(run: Run, tables: AnswerTables) -> Robustness | None:
    """The table of a run in which a benchmark is asked as it is and in other ways; ``None`` where none is.

    A benchmark asks another one in another way where its settings hold that one under ``benchmark``. Questions that are
    asked several times there (in several orders) count once, with the mean of their values.
    """
    refs = run.benchmark_refs
    values = _values(tables)
    models = tuple(name for name in tables.models if not is_baseline(name))
    rows = []
    registry = load_plugins()
    own = {name: _identity(registry, ref.use, ref.settings) for name, ref in refs.items()}
    for name, ref in refs.items():
        if ref.use.rsplit("/", 1)[-1] == "likelihood":
            continue  # another way to read what a model holds true: nothing of the question is altered
        inner = mapping(ref.settings.get("benchmark"))
        whole = _identity(registry, str(inner.get("use", "")), mapping(inner.get("with"))) if inner else None
        plain = [other for other, identity in own.items() if identity and identity == whole]
        for other in plain[:1]:
            found = tuple(
                _survival(model, values.get((other, model), {}), values.get((name, model), {})) for model in models
            )
            if any(found):
                rows.append(RobustnessRow(other, _told(ref.use, ref.settings), found))
    return Robustness(models, tuple(rows)) if rows else None


def _identity(registry: Registry, use: str, settings: Mapping[str, Any], kind: str = "benchmark") -> Any:
    """What makes two benchmarks the same: settings with their defaults, of nested components too.

    ``None`` of one that is not installed now.
    """
    try:
        made = registry.make(kind, use, dict(settings))
    except Exception:  # whatever a plugin of other days or another version makes of its settings
        return None
    whole: dict[str, Any] = {name: getattr(made, name) for name in type(made).model_fields}
    for name, of in getattr(type(made), "nested", {}).items():
        ref = whole.get(name)
        if isinstance(ref, ComponentRef):
            whole[name] = _identity(registry, ref.use, ref.settings, of)
    return type(made), whole


def _told(use: str, settings: object) -> str:
    own = {key: value for key, value in mapping(settings).items() if key not in ("benchmark", "seed")}
    more = ", ".join(f"{key} {value}" for key, value in own.items() if isinstance(value, str | int))
    return use.rsplit("/", 1)[-1] + (f" ({more})" if more else "")


def _survival(model: str, plain: dict[str, float], altered: dict[str, float]) -> Survival | None:
    shared = [name for name in plain if name in altered]
    change = movement(shared, altered, plain, "the questions as they are")
    if change is None:
        return None
    means = [sum(side[name] for name in shared) / len(shared) for side in (plain, altered)]
    return Survival(model, means[0], means[1], change)


def _values(tables: AnswerTables) -> dict[tuple[str, str], dict[str, float]]:
    """By benchmark and model: the mean value of every question under the first scoring; unread is 0."""
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in tables.answers:
        question = tables.questions[row[0]]
        if row[4][:1] not in ("", "e"):
            name = question[5].get("question", question[1]) if "order" in question[5] else question[1]
            found[tables.benchmarks[question[0]], tables.models[row[1]]][name].append(row[5][0] or 0.0)
    return {key: {name: sum(own) / len(own) for name, own in part.items()} for key, part in found.items()}
