"""What the page shows of a run's data: samples step by step, filters, quality, selection."""

from __future__ import annotations

from typing import Any

from infimed_core.records import RunRecord, StepRecord
from infimed_plugins.reporting.page import charts
from infimed_plugins.reporting.page.answers import content_text
from infimed_plugins.reporting.page.figures import count, cut, listed, mapping, number
from infimed_plugins.reporting.page.tables import Funnel, funnel, steps_of, unique
from infimed_plugins.reporting.page.thumbnails import Thumbnails


def funnel_chart(record: RunRecord) -> str:
    """Samples kept and dropped, step by step; those of other stages are not a stage's loss."""
    rows = [(row.step, row.num_in - _of_other_stages(row), row.num_out) for row in funnel(record)]
    return charts.funnel(rows, "samples, step by step") if rows else ""


def _of_other_stages(row: Funnel) -> int:
    """Samples that a stage was not to see: its mix leaves them out, or it draws fewer than there are."""
    return sum(num for reason, num in row.dropped if reason in ("not_in_mix", "not_drawn")) if row.is_plan else 0


def quality(step: StepRecord, thumbnails: Thumbnails) -> dict[str, Any]:
    """A scoring step: distributions, reasons, correlations, and the samples at both ends."""
    details = step.details
    dimensions = []
    for name, value in mapping(details.get("dimensions")).items():
        value = mapping(value)
        counts = [count(height) for height in value.get("histogram") or ()]
        mean = value.get("mean")
        label = f"{name}: distribution of {number(sum(counts), 0)} scores"
        bins = [(f"{i / len(counts):.2f}–{(i + 1) / len(counts):.2f}", int(height)) for i, height in enumerate(counts)]
        dimensions.append(
            {
                "name": name,
                "mean": mean,
                "num_null": int(count(value.get("num_null"))),
                "chart": charts.histogram(counts, label, mean) if counts else "",
                "bins": bins,
            }
        )
    reasons = sorted(mapping(details.get("reasons")).items(), key=lambda item: (-count(item[1]), item[0]))
    extremes = [
        (title, [_extreme(entry, thumbnails) for entry in listed(details.get(key)) if isinstance(entry, dict)])
        for title, key in (("Lowest scores", "worst"), ("Highest scores", "best"))
    ]
    return {
        "step": step.name,
        "dimensions": dimensions,
        "reasons": reasons,
        "extremes": extremes,
        "correlations": _correlations(details.get("correlations")),
    }


def _extreme(entry: dict[str, Any], thumbnails: Thumbnails) -> dict[str, Any]:
    sample, score = mapping(entry.get("sample")), mapping(entry.get("score"))
    return {
        "id": cut(sample.get("id", "")),
        "text": "\n".join(content_text(mapping(turn).get("content", ())) for turn in sample.get("turns") or ())[:400],
        "images": [thumbnails.add(media) for media in sample.get("media") or ()],
        "value": score.get("value"),
        "reasons": [cut(reason) for reason in score.get("reasons") or ()],
        "parts": mapping(score.get("parts")),
        "note": cut(score.get("note") or ""),
    }


def _correlations(value: Any) -> dict[str, Any] | None:
    """Spearman's correlations as a square: names and rows; ``None`` where there are none or the shape is odd."""
    names, matrix = listed(mapping(value).get("dimensions")), listed(mapping(value).get("matrix"))
    rows = [[cell if isinstance(cell, int | float) else None for cell in listed(row)] for row in matrix]
    if len(names) < 2 or len(rows) != len(names) or any(len(row) != len(names) for row in rows):
        return None
    return {"names": names, "rows": list(zip(names, rows, strict=True)), "num": mapping(value).get("num_samples")}


def kills(step: StepRecord) -> list[tuple[str, int, int]]:
    """Of a selection: for each dimension the rejects that were low in it, and those low in it alone."""
    kills = {name: mapping(counts) for name, counts in mapping(step.details.get("kills")).items()}
    return [(name, int(count(facts.get("num"))), int(count(facts.get("alone")))) for name, facts in kills.items()]


def filters(record: RunRecord) -> list[dict[str, Any]]:
    """Every filter: how many samples went in and out, why, and its facts as plain values and tables."""
    sections = []
    for name, step in steps_of(record, "filter", "filter"):
        facts: dict[str, Any] = {}
        nested: list[tuple[str, tuple[str, ...], list[Any]]] = []
        for key, value in step.details.items():
            rows = mapping(value)
            if rows and all(isinstance(row, dict) for row in rows.values()):
                columns = unique(column for row in rows.values() for column in row)
                nested.append((key, columns, [(title, [row.get(c) for c in columns]) for title, row in rows.items()]))
            elif rows:
                facts |= {f"{key}: {inner}": fact for inner, fact in rows.items() if not isinstance(fact, dict | list)}
            elif not isinstance(value, dict | list):
                facts[key] = value
        sections.append({"name": name, "step": step, "facts": facts, "tables": nested})
    return sections
