"""What each way of asking gave and cost: the answers of finished runs, one line per benchmark, model and solver."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from infimed_core import Answer, DataError, GradedAnswer, Sample, Score, interval

COLUMNS = (
    "benchmark", "model", "solver", "questions", "value", "95% interval", "unscored", "coverage", "violations",
    "calls", "prompt tokens", "answer tokens",
)  # fmt: skip


def compare_solvers(runs: Sequence[Path]) -> list[dict[str, Any]]:
    """One row per benchmark, model and solver of the runs, in their order.

    ``value`` is the mean over all answers under the benchmark's first scoring, one that cannot be read being 0, ``low``
    and ``high`` its 95% interval over the benchmark's clusters; ``coverage`` is the mean of that part, ``violations``
    the share of answers with any, both ``None`` where the benchmark is not graded by points. ``calls`` and tokens are
    means per question, all calls of a question together; tokens are ``None`` where a model does not tell them.

    Raises:
        DataError: there is no readable run, or it asked no benchmark.
    """
    rows = [row for run in runs for row in _of_run(run)]
    if not rows:
        raise DataError("no_answers", f"{', '.join(map(str, runs))}: no answers of any benchmark in there")
    return rows


def _of_run(run: Path) -> Iterator[dict[str, Any]]:
    file = run if run.name == "run.json" else run / "run.json"
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        used = (record["config"].get("evaluation") or {}).get("benchmarks") or []
        steps = {step["name"]: step for step in record["steps"]}
    except FileNotFoundError:
        raise DataError("no_run", f"{file}: no such run; give the directory of a run, such as runs/mdt") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError("bad_run", f"{file}: is no run record ({type(error).__name__}: {error})") from None
    plain = [str(use["use"]).rsplit("/", 1)[-1] for use in used]
    for place, (name, use) in enumerate(zip(plain, used, strict=True)):
        in_run = name if plain.count(name) == 1 else f"{name}-{place + 1}"
        for answers in sorted((file.parent / "answers").glob(f"{in_run}--*.jsonl")):
            model = answers.stem.removeprefix(f"{in_run}--")
            step = steps.get(f"evaluate-{model}-{in_run}")
            if step is None:
                continue  # the constant baseline: nobody was asked
            details = step.get("details") or {}
            default = ((details.get("protocol") or {}).get("solver") or {}).get("use", "")
            solver = (use.get("solver") or {}).get("use") or default.lower()
            row = {"run": record.get("name", ""), "in_run": in_run, "benchmark": name, "model": model, "solver": solver}
            yield row | summary(answers, str(details.get("cluster_by") or ""))


def summary(answers: Path, cluster_by: str) -> dict[str, Any]:
    """Value, coverage, violations and cost of an answers file."""
    with answers.open(encoding="utf-8") as stream:
        lines = [json.loads(line) for line in stream]
    graded = [
        GradedAnswer(
            Sample.model_validate(line["sample"]),
            Answer.model_validate(line["answer"]),
            Score.model_validate(next(iter(line["scores"].values()))),
        )
        for line in lines
    ]
    counted = [place for place, row in enumerate(graded) if row.has_result]
    values = [graded[place].score.value or 0.0 for place in counted]
    units = [graded[place].sample.tags.get(cluster_by) or str(place) for place in counted]
    low, high = interval(values, clusters=units)
    scored = [row.score for row in graded if row.score.value is not None]
    parts = [score.parts for score in scored]
    by_points = bool(parts) and all("coverage" in part and "violations" in part for part in parts)

    def per_question(key: str) -> float | None:
        counts = [line["answer"].get(key) for line in lines]
        return None if not counts or None in counts else sum(counts) / len(counts)

    return {
        "questions": len(lines),
        "unscored": len(lines) - len(scored),
        "value": sum(values) / len(values) if values else None,
        "low": low,
        "high": high,
        "coverage": sum(part["coverage"] or 0.0 for part in parts) / len(parts) if by_points else None,
        "violations": sum((part["violations"] or 0) > 0 for part in parts) / len(parts) if by_points else None,
        "calls": per_question("num_calls"),
        "prompt_tokens": per_question("num_prompt_tokens"),
        "answer_tokens": per_question("num_answer_tokens"),
    }


def lines_of(rows: Sequence[dict[str, Any]], markdown: bool = False) -> Iterator[str]:
    """The table as text, or as Markdown."""
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
