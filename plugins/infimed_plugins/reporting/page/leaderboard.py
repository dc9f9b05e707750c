"""The models of a run in order, with ties: a rank says how many are better by more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from infimed_core import Comparison, MetricValue, holm
from infimed_core.records import ResultRow, RunRecord, is_baseline
from infimed_plugins.reporting.compare.means import mean_of_differences
from infimed_plugins.reporting.page.figures import mapping
from infimed_plugins.reporting.page.names import has_training, own_name
from infimed_plugins.reporting.page.ranks import rank
from infimed_plugins.reporting.page.tables import NO_VALUE, first_scorings, metric_of, unique

FEWEST = 0.98
"""Share of the questions that another model got an answer to, below which a value is marked as of fewer."""


@dataclass(frozen=True)
class Entry:
    """One model: its rank (``2`` or, with ties, ``1–3``; "" for a baseline), and its values by benchmark."""

    model: str
    rank: str
    mean: MetricValue
    values: tuple[MetricValue, ...]
    note: str = ""


@dataclass(frozen=True)
class Leaderboard:
    """Models, the best first; what could not be asked comes last, baselines after them.

    ``mean_of`` is the metric of the unweighted mean over all benchmarks; "" where there is one, or they differ in it.
    """

    columns: tuple[tuple[str, str], ...]
    mean_of: str
    entries: tuple[Entry, ...]
    baselines: tuple[Entry, ...]
    mean_over: tuple[str, ...] = ()

    @property
    def has_ties(self) -> bool:
        """Whether two models share a rank."""
        return any("–" in entry.rank for entry in self.entries)


def leaderboard(record: RunRecord) -> Leaderboard | None:
    """The leaderboard of a run that compares models; ``None`` where there are not two, or they are stages of one."""
    if has_training(record):
        return None
    scorings = first_scorings(record)
    rows = [row for row in record.results if not row.group and row.scoring == scorings[row.benchmark]]
    models = [name for name in unique(row.model for row in rows) if not is_baseline(name)]
    failed = _failed(record, models)
    if len(models) + len(failed) < 2:
        return None
    own_names = unique(row.benchmark for row in rows)
    again = _asked_again(record)
    fresh = [name for name in own_names if name not in again] or own_names
    plain = [name for name in fresh if scorings[name] == scorings[fresh[0]]]
    benchmarks = (*plain, *(name for name in own_names if name not in plain))
    metrics = {name: metric_of(row for row in rows if row.benchmark == name) for name in benchmarks}
    values = {(row.model, row.benchmark): row.metrics.get(metrics[row.benchmark], NO_VALUE) for row in rows}
    lower = {(one.benchmark, one.metric) for one in record.comparisons if not one.higher_is_better}
    signs = {name: -1.0 if (name, metric) in lower else 1.0 for name, metric in metrics.items()}
    mean_of = metrics[benchmarks[0]] if len(plain) > 1 and len({metrics[name] for name in plain}) == 1 else ""
    whole = [m for m in models if all(values.get((m, name), NO_VALUE).value is not None for name in plain)]
    better = _better(record, whole, {name: scorings[name] for name in (plain if mean_of else benchmarks[:1])})
    most = [max(_counted(values.get((model, name), NO_VALUE)) for model in models) for name in benchmarks]
    entries = []
    for model in models:
        own = tuple(values.get((model, name), NO_VALUE) for name in benchmarks)
        mean = _mean(own[: len(plain)]) if mean_of and model in whole else NO_VALUE
        own_rank = rank(model, whole, better) if model in whole else ""
        note = failed.pop(model, "") or _incomplete(own, most, benchmarks)
        entries.append(Entry(own_name(record, model), own_rank, mean, own, note))

    def order(entry: Entry) -> tuple[bool, float]:
        value = entry.mean.value if mean_of else entry.values[0].value
        return (value is None or not entry.rank, -signs[benchmarks[0]] * (value or 0.0))

    entries.sort(key=order)
    entries += [Entry(own_name(record, name), "", NO_VALUE, (), note) for name, note in failed.items()]
    baselines = [
        Entry(name, "", NO_VALUE, tuple(values.get((name, benchmark), NO_VALUE) for benchmark in benchmarks))
        for name in unique(row.model for row in rows)
        if is_baseline(name)
    ]
    columns = tuple((name, metrics[name]) for name in benchmarks)
    return Leaderboard(columns, mean_of, tuple(entries), tuple(baselines), tuple(plain))


def _asked_again(record: RunRecord) -> set[str]:
    """The benchmarks that ask another one otherwise (other orders, likelihoods, no images): no part of a mean."""
    uses = mapping(record.config.get("evaluation")).get("benchmarks")
    found = set()
    for use in map(mapping, uses if isinstance(uses, list) else ()):
        if "benchmark" in mapping(use.get("with")) or use.get("scoring"):
            found.add(str(use.get("name") or str(use.get("use")).rsplit("/", 1)[-1]))
    return found


def _counted(value: MetricValue) -> int:
    """The questions that a value stands on."""
    return value.num_scored if value.num_counted is None else value.num_counted


def _incomplete(own: Sequence[MetricValue], most: Sequence[int], benchmarks: Sequence[str]) -> str:
    """A note where a value stands on clearly fewer questions than that of another model of the same order."""
    parts = [
        f"{_counted(value):,} of {number:,} questions" + (f" of {name}" if len(benchmarks) > 1 else "")
        for value, number, name in zip(own, most, benchmarks, strict=True)
        if value.value is not None and _counted(value) < FEWEST * number
    ]
    return f"only {', '.join(parts)}" if parts else ""


def _failed(record: RunRecord, models: Sequence[str]) -> dict[str, str]:
    """Models that could not be asked, with the reason; also those of ``models`` that were asked less than the rest."""
    found: dict[str, str] = {}
    for step in record.steps:
        model = step.subject.get("model", "")
        if step.kind in ("evaluate", "model") and step.status == "failed" and model and not is_baseline(model):
            found.setdefault(model, f"not asked: {step.details.get('failure')}")
    return found


def _better(record: RunRecord, models: Sequence[str], scorings: Mapping[str, str]) -> set[tuple[str, str]]:
    """(better, worse) of every two models that differ by more than chance, by Holm's correction over all pairs."""
    found: dict[tuple[str, str], list[Comparison]] = {}
    for one in record.comparisons:
        pair = (one.model, one.against)
        if one.scoring == scorings.get(one.benchmark) and set(pair) <= set(models):
            found.setdefault(pair, []).append(one)
    pairs, differences, p_values = [], [], []
    for first, second in combinations(models, 2):
        for pair in ((first, second), (second, first)):
            parts = found.get(pair, [])
            known = all(part.p_value is not None for part in parts)
            known = known and (len(parts) == 1 or all(part.standard_error is not None for part in parts))
            if known and len(parts) == len(scorings):
                whole = parts[0] if len(parts) == 1 else mean_of_differences(parts)
                pairs.append(pair)
                differences.append(whole.difference if parts[0].higher_is_better else -whole.difference)
                p_values.append(float(whole.p_value or 0.0))
                break
    adjusted = holm(p_values)
    return {
        pair if difference > 0 else (pair[1], pair[0])
        for pair, difference, p in zip(pairs, differences, adjusted, strict=True)
        if p < 0.05
    }


def _mean(values: Sequence[MetricValue]) -> MetricValue:
    """The unweighted mean; its interval adds the squares of the parts' distances to their bounds (Zou and Donner 2008,
    Statistics in Medicine 27, 1693-1702)."""
    known = [(v.value, v.low, v.high) for v in values if v.value is not None]
    if len(known) < len(values):
        return NO_VALUE
    mean = sum(value for value, _, _ in known) / len(known)
    counts = {"num_scored": sum(v.num_scored for v in values), "num_unscored": sum(v.num_unscored for v in values)}
    if any(low is None or high is None for _, low, high in known):
        return MetricValue(value=mean, **counts)
    below = math.sqrt(sum((value - low) ** 2 for value, low, _ in known if low is not None)) / len(known)
    above = math.sqrt(sum((high - value) ** 2 for value, _, high in known if high is not None)) / len(known)
    return MetricValue(value=mean, low=mean - below, high=mean + above, **counts)


def rows_of(record: RunRecord, benchmark: str) -> list[ResultRow]:
    """The rows of a benchmark over all its questions, under the scoring that counts."""
    scoring = first_scorings(record).get(benchmark)
    return [row for row in record.results if row.benchmark == benchmark and not row.group and row.scoring == scoring]
