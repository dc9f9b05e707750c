"""What each way of asking gave and cost: the answers of finished runs, one line per benchmark, model and solver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infimed_core import DataError, GradedAnswer, interval, load_plugins
from infimed_core.records import Graded, open_run

COLUMNS = (
    "benchmark", "model", "solver", "questions", "value", "95% interval", "unscored", "coverage", "violations",
    "calls", "prompt tokens", "answer tokens",
)  # fmt: skip

TEAMS = ("mdt-panel", "mdagents", "medagents", "reconcile")
"""Solvers of many calls, which say something only beside one model at the same cost."""
EQUAL = 0.25
"""By how much of a team's cost a vote may differ and still be of equal cost."""


def compare_solvers(runs: Sequence[Path]) -> list[dict[str, Any]]:
    """One row per benchmark, model and solver of the runs, in their order.

    ``value`` is the mean over all answers under the benchmark's first scoring, one that cannot be read being 0, ``low``
    and ``high`` its 95% interval over the benchmark's clusters; ``coverage`` is the mean of that part, ``violations``
    the share of answers with any, both ``None`` where the benchmark is not graded by points. ``calls`` and tokens are
    means per question, all calls of a question together; tokens are ``None`` where a model does not tell them.

    Raises:
        InfimedError: there is no run, or it asked no benchmark.
    """
    rows = [row for run in runs for row in _of_run(run)]
    if not rows:
        raise DataError("no_answers", f"{', '.join(map(str, runs))}: no answers of any benchmark in there")
    return rows


def _of_run(path: Path) -> Iterator[dict[str, Any]]:
    run = open_run(path)
    registered = {kind.__name__: name.rsplit("/", 1)[-1] for name, kind in load_plugins().components("solver").items()}
    for benchmark, model in run.answered():
        step = run.step("evaluate", benchmark=benchmark, model=model)
        if step is None:
            continue  # a constant baseline: nobody was asked
        ref = run.benchmark_refs[benchmark]
        protocol: Any = step.details.get("protocol") or {}
        solver = ref.solver.use if ref.solver is not None else registered.get(_class_of(protocol), _class_of(protocol))
        # one benchmark that is asked in several ways needs several names, and is one benchmark all the same
        alike = [
            other for other in run.benchmark_refs.values() if (other.use, other.settings) == (ref.use, ref.settings)
        ]
        name = ref.name if ref.name and len(alike) == 1 else ref.use.rsplit("/", 1)[-1]
        row = {"run": run.name, "in_run": benchmark, "benchmark": name, "model": model, "solver": solver}
        yield row | summary(list(run.answers(benchmark, model)), run.cluster_by(benchmark))


def _class_of(protocol: Any) -> str:
    return str((protocol.get("solver") or {}).get("use", ""))


def summary(answers: Sequence[Graded], cluster_by: str) -> dict[str, Any]:
    """Value, coverage, violations and cost of a model's answers on a benchmark."""
    graded = [GradedAnswer(row.sample, row.answer, next(iter(row.scores.values()))) for row in answers]
    counted = [place for place, row in enumerate(graded) if row.has_result]
    values = [graded[place].score.value or 0.0 for place in counted]
    units = [graded[place].sample.tags.get(cluster_by) or str(place) for place in counted]
    low, high = interval(values, clusters=units)
    scored = [row.score for row in graded if row.score.value is not None]
    parts = [score.parts for score in scored]
    by_points = bool(parts) and all("coverage" in part and "violations" in part for part in parts)

    def per_question(counts: Sequence[int | None]) -> float | None:
        known = [count for count in counts if count is not None]
        return sum(known) / len(counts) if counts and len(known) == len(counts) else None

    return {
        "questions": len(answers),
        "unscored": len(answers) - len(scored),
        "value": sum(values) / len(values) if values else None,
        "low": low,
        "high": high,
        "coverage": sum(part["coverage"] or 0.0 for part in parts) / len(parts) if by_points else None,
        "violations": sum((part["violations"] or 0) > 0 for part in parts) / len(parts) if by_points else None,
        "calls": per_question([row.answer.num_calls for row in answers]),
        "prompt_tokens": per_question([row.answer.num_prompt_tokens for row in answers]),
        "answer_tokens": per_question([row.answer.num_answer_tokens for row in answers]),
    }


def without_equal_cost(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line for every team of calls beside which no vote of the same model at about its cost stands."""
    for row in rows:
        if row["solver"].rsplit("/", 1)[-1] not in TEAMS:
            continue
        alike = [
            other for other in rows
            if other["solver"].rsplit("/", 1)[-1] == "vote"
            and (other["benchmark"], other["model"]) == (row["benchmark"], row["model"])
        ]  # fmt: skip
        spent = _spent(row)
        if not any(abs(_spent(other) - spent) <= EQUAL * spent for other in alike):
            what = f"{row['solver']} on {row['benchmark']} by {row['model']}: no row at equal cost"
            tokens = _tokens(row)
            own = f"num_samples: 60 and token_budget: {tokens}" if tokens else f"num_samples: {round(spent)}"
            remedy = f"add the solver vote with {own}"
            yield f"{what}, so nothing is shown about it; {remedy}"


def _tokens(row: Mapping[str, Any]) -> int | None:
    known = [row["prompt_tokens"], row["answer_tokens"]]
    return None if None in known else round(sum(known))


def _spent(row: Mapping[str, Any]) -> float:
    """Tokens of a question; calls where the model does not tell its tokens."""
    return float(_tokens(row) or row["calls"] or 0.0)


def lines_of(rows: Sequence[dict[str, Any]], markdown: bool = False) -> Iterator[str]:
    """The table as text, or as Markdown; then what it lacks."""
    yield from _table(rows, markdown)
    told = list(without_equal_cost(rows))
    yield from (["", *told] if told else [])


def _table(rows: Sequence[dict[str, Any]], markdown: bool) -> Iterator[str]:
    cells = [list(COLUMNS), *([*_cells(row)] for row in rows)]
    if markdown:
        for number, line in enumerate(cells):
            yield f"| {' | '.join(line)} |"
            if number == 0:
                yield f"|{'|'.join('---' if column < 3 else '---:' for column in range(len(COLUMNS)))}|"
        return
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    for line in cells:
        padded = (
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )  # fmt: skip
        yield "  ".join(padded).rstrip()


def _cells(row: dict[str, Any]) -> Iterator[str]:
    def number(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    bounds = "–" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
    yield from (row["benchmark"], row["model"], row["solver"], str(row["questions"]))
    yield from (number(row["value"], 3), bounds, str(row["unscored"]))
    yield from (number(row["coverage"], 3), number(row["violations"], 3), number(row["calls"], 2))
    yield from (number(row["prompt_tokens"], 0), number(row["answer_tokens"], 0))
