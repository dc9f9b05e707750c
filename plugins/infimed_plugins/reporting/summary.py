"""The end of a run in the terminal: funnel, packing, loss, accuracy before and after, and where the report is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infimed_core import MetricValue
from infimed_core.records import BASELINE, IMAGE_BLIND, Comparison, Run, RunRecord, is_baseline
from infimed_plugins.reporting.page.doubts import from_files, no_better, no_model, unread, unread_lines, weak_forms
from infimed_plugins.reporting.page.figures import mapping, number, printable
from infimed_plugins.reporting.page.leaderboard import leaderboard
from infimed_plugins.reporting.page.names import own_name
from infimed_plugins.reporting.page.tables import (
    BenchmarkTable,
    benchmark_tables,
    curve_points,
    first_scorings,
    funnel,
    steps_of,
)

KEPT_WHOLE = ("value", "interval", "scored", "unscored", "pairs")
"""Columns of figures, which nobody can read in pieces; names are wrapped where the screen is narrow."""


def summary_text(run: Run) -> Any:
    """A rich renderable; names that come from data are shown as plain text, never read as markup."""
    from rich.console import Group
    from rich.text import Text

    record = run.record
    parts: list[Any] = [Text(f"\n{printable(record.name)}: {record.status}", style="bold")]
    if run.is_abandoned:
        text = "no process of this machine works on it: where none does elsewhere, the same command goes on from there"
        parts.append(Text(text, style="red"))
    if record.error:
        parts.append(Text(printable(record.error), style="red"))
    parts += [Text(f"\n{text}", style="yellow") for text in _unread(record)]
    tables = [_funnel(record), _packing(record), _training(record), _leaderboard(record), *_results(record)]
    parts += [part for table in tables if table is not None for part in (Text(), table)]
    parts += [
        Text(f"\n{printable(line)}")
        for line in (
            *no_model(record),
            *no_better(record),
            *weak_forms(record),
            *from_files(record),
            *_not_looked_at(record),
            *_on_both_sides(record),
        )
    ]
    if leaderboard(record) is not None:
        parts.append(Text(f"\nEvery pair of models: infimed compare {run.directory}"))
    report = run.directory / "report.html"
    if report.exists():
        parts.append(Text(f"\nReport: {report}"))
    parts.append(Text(f"{'' if report.exists() else chr(10)}Record: {run.directory / 'run.json'}"))
    return Group(*parts)


def _unread(record: RunRecord) -> Iterator[str]:
    """What could not be read of each model: a line for a benchmark."""
    for _, lines in unread_lines(unread(record)):
        yield "\n".join(map(printable, lines.split("\n")))


def _not_looked_at(record: RunRecord) -> Iterator[str]:
    """For each scorer that could not look for identity everywhere: in how many samples, and what helps."""
    for _, step in steps_of(record, "score"):
        reasons = step.details.get("reasons")
        for reason, where, remedy in (
            (
                "pixels_unchecked",
                "the pixels",
                "`read_pixels: true` reads them, `infimed deidentify` covers what is there",
            ),
            ("identity_unchecked", "a header", "`infimed deidentify` withholds what it cannot read"),
        ):
            count = reasons.get(reason) if isinstance(reasons, dict) else None
            if isinstance(count, int) and count:
                yield f"{printable(step.name)}: {where} of {count:,} samples not looked at for identity; {remedy}"
        if isinstance(reasons, dict):
            yield from _worth_knowing(printable(step.name), reasons)


def _on_both_sides(record: RunRecord) -> Iterator[str]:
    """For each tag of a patient or study: how many of its values training shares with a benchmark, and what helps."""
    for _, step in steps_of(record, "filter"):
        shared: Any = step.details.get("on_both_sides")
        for tag, counts in shared.items() if isinstance(shared, dict) else ():
            assert isinstance(counts, dict)
            yield (
                f"{printable(step.name)}: {counts['num_values']:,} values of the tag '{printable(tag)}' are in"
                f" training "
                f"({counts['num_samples']:,} samples) and in a benchmark; leave those samples out, or divide the"
                f" data with "
                f"data: {{split: {{by: {printable(tag)}}}}} and make the benchmark of what is held out"
            )


def _worth_knowing(step: str, reasons: Mapping[str, Any]) -> Iterator[str]:
    """What a scorer could not do for many samples, each once, with what helps."""
    if count := reasons.get("modality_unknown"):
        yield (
            f"{step}: the tag modality of {count:,} samples is no known modality, so their pictures are judged by the "
            "reference of all modalities; use a name that `infimed_core.MODALITIES` lists, such as radiography, CT, MR"
        )
    if count := reasons.get("language_unknown"):
        yield f"{step}: {count:,} samples are in a language that the text rules do not know; a judge or `embedding` can"
    identified = sum(count for reason, count in reasons.items() if reason.startswith("phi_") and isinstance(count, int))
    if identified:
        yield f"{step}: identity was found {identified:,} times; `infimed deidentify` makes a copy without it"


def _table(title: str, *columns: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title=printable(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for number_of_column, column in enumerate(columns):
        justify: Any = "right" if number_of_column else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column in KEPT_WHOLE)
    return table


def _add(table: Any, *cells: str) -> None:
    from rich.text import Text

    table.add_row(*(Text(printable(cell)) for cell in cells))


def _funnel(record: RunRecord) -> Any:
    steps = funnel(record)
    if not steps:
        return None
    table = _table("Samples", "step", "in", "out", "dropped")
    for step in steps:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in step.dropped)
        _add(table, step.step, f"{step.num_in:,}", f"{step.num_out:,}", reasons or "–")
    return table


def _packing(record: RunRecord) -> Any:
    table = _table("Packing", "stage", "visual tokens", "samples", "rows", "fill")
    for stage, step in steps_of(record, "plan"):
        phases = step.details.get("phases")
        for phase in phases if isinstance(phases, list) else ():
            if isinstance(phase, dict):
                cap = phase.get("max_visual_tokens")
                cells = ["native" if cap is None else _figure(cap, 0)]
                cells += [
                    _figure(phase.get("num_samples"), 0),
                    _figure(phase.get("num_rows"), 0),
                    _figure(phase.get("fill"), 3),
                ]
                _add(table, stage, *cells)
    return table if table.row_count else None


def _training(record: RunRecord) -> Any:
    table = _table("Training", "stage", "steps", "skipped", "loss first", "loss last", "tokens", "tokens/s", "seconds")
    for stage, step in steps_of(record, "train"):
        points = curve_points(step, "loss")
        first = step.details.get("loss_first", points[0][1] if points else None)
        last = step.details.get("loss_last", points[-1][1] if points else None)
        details = step.details
        steps = details.get("steps", points[-1][0] if points else None)
        skipped = details.get("skipped_steps")
        cells = [_figure(steps, 0), f"{len(skipped):,}" if isinstance(skipped, list) and skipped else "–"]
        cells += [_figure(first, 3), _figure(last, 3), _figure(details.get("tokens"), 0)]
        running = " (running)" if step.status == "running" else ""
        trained = details.get("seconds")  # over all parts of a stage that was stopped, as tokens and steps are
        seconds = max(step.seconds, trained) if isinstance(trained, int | float) else step.seconds
        _add(table, stage + running, *cells, _figure(details.get("tokens_per_second"), 0), f"{seconds:.1f}")
    return table if table.row_count else None


def _short(model: str, record: RunRecord) -> str:
    """A name that fits a column."""
    return "most-common" if model == BASELINE else own_name(record, model)


def _leaderboard(record: RunRecord) -> Any:
    """Models in order, with ties; nothing where there are not two."""
    board = leaderboard(record)
    if board is None:
        return None
    means = [f"mean {board.mean_of}"] if board.mean_of else []
    shown = [name if board.mean_of else f"{name} {metric}" for name, metric in board.columns]
    tied = "; models that share a rank are not shown to differ" if board.has_ties else ""
    table = _table(f"Leaderboard{tied}", "rank", "model", *means, *shown)
    table.columns[1].justify = "left"
    for entry in (*board.entries, *board.baselines):
        values = [entry.mean, *entry.values] if board.mean_of else list(entry.values)
        name = "most-common" if entry.model == BASELINE else entry.model
        cells = [f"{number(value.value)}\n{_interval(value)}" for value in values] if entry.values else []
        _add(table, entry.rank or "–", f"{name}: {entry.note}" if entry.note else name, *cells)
    return table


def _against(table: Any, model: str, other: Comparison, record: RunRecord) -> None:
    """A row below a model's own: its difference from another, and on how many pairs it stands."""
    against = "without images" if other.against == model + IMAGE_BLIND else _short(other.against, record)
    interval = f"[{_signed(other.low)}, {_signed(other.high)}]"
    _add(table, f"  less {against}", _signed(other.difference), interval, "", "", f"{other.num_pairs:,}")


def _results(record: RunRecord) -> Iterator[Any]:
    """A table for each benchmark under each scoring; below a leaderboard, whose ranks hold what pairs of models show,
    only the scoring that counts and the differences from baselines."""
    from rich.text import Text

    has_board, counted = leaderboard(record) is not None, first_scorings(record)
    for results in benchmark_tables(record):
        if has_board and results.scoring != counted[results.benchmark]:
            continue
        title = f"{results.benchmark}: {results.scoring} {results.metric} with its 95% interval"
        table = _table(title, "model", "value", "interval", "scored", "unscored", "pairs")
        for form, values in results.forms:
            for model, value in values:
                if not is_baseline(model):
                    counts = [f"{value.num_scored:,}", f"{value.num_unscored:,}", ""]
                    _add(table, f"{_short(model, record)}, {form}", number(value.value), _interval(value), *counts)
        for line in results.lines:
            value = line.value
            shown = [other for other in line.against if not has_board or is_baseline(other.against)]
            cells = [number(value.value), _interval(value), f"{value.num_scored:,}", f"{value.num_unscored:,}"]
            _add(table, _short(line.model, record), *cells, "")
            for other in shown:
                _against(table, line.model, other, record)
        yield table
        if results.left_out:
            yield Text(results.left_out)  # the title of a table is no wider than the table
        if asked_for := [metric for metric in _named_metrics(record, results.benchmark) if metric != results.metric]:
            yield _other_metrics(record, results, asked_for)


def _named_metrics(record: RunRecord, benchmark: str) -> list[str]:
    """The metrics that the run file names for a benchmark."""
    uses = mapping(record.config.get("evaluation")).get("benchmarks")
    own = [use for use in map(mapping, uses if isinstance(uses, list) else ()) if _label(use) == benchmark]
    found = [use["metrics"] for use in own if isinstance(use.get("metrics"), list)]
    return [_label(mapping(metric)) for metrics in found for metric in metrics]


def _label(use: Mapping[str, Any]) -> str:
    """The name of a component in a run file: its own, else that of its kind."""
    return str(use.get("name") or str(use.get("use")).rsplit("/", 1)[-1])


def _other_metrics(record: RunRecord, results: BenchmarkTable, names: list[str]) -> Any:
    """A column for each metric that the run file names beside the one that counts."""
    found = {name: dict(values) for name, values in results.others if name in names}
    table = _table(f"{results.benchmark}: other metrics with their 95% intervals", "model", *found)
    for line in results.lines:
        values = [own.get(line.model) for own in found.values()]
        cells = ["–" if one is None else f"{number(one.value)} {_interval(one)}" for one in values]
        _add(table, _short(line.model, record), *cells)
    return table


def _interval(value: MetricValue) -> str:
    return "–" if value.low is None or value.high is None else f"[{value.low:.3f}, {value.high:.3f}]"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _figure(value: Any, digits: int) -> str:
    return number(float(value), digits) if isinstance(value, int | float) and not isinstance(value, bool) else "–"
