"""What the page shows of packing and training: phases, curves, what was measured within a stage."""

from __future__ import annotations

from typing import Any

from infimed_core.records import RunRecord, StepRecord
from infimed_plugins.reporting.page import charts
from infimed_plugins.reporting.page.figures import count, listed, mapping
from infimed_plugins.reporting.page.tables import curve_points, steps_of
from infimed_plugins.reporting.page.thumbnails import Thumbnails

MOST_ROWS = 12
"""Rows of the table that stands for a curve."""


def plan(name: str, step: StepRecord) -> dict[str, Any]:
    """A stage's plan: its phases, and what it counted."""
    phases = [phase for phase in listed(step.details.get("phases")) if isinstance(phase, dict)]
    shape: list[tuple[float, Any]] = [
        (count(phase.get("num_samples")), phase.get("max_visual_tokens")) for phase in phases
    ]
    label = f"{name}: visual tokens allowed an image over the stage"
    facts = {key: value for key, value in step.details.items() if not isinstance(value, dict | list)}
    chart = charts.phase_chart(shape, label) if shape else ""
    return {"name": name, "phases": phases, "facts": facts, "dropped": step.dropped, "chart": chart}


def stages(record: RunRecord, thumbnails: Thumbnails) -> list[dict[str, Any]]:
    """Every training stage: its curves, its losses by source where it told them, and answers it learned from."""
    sections = []
    for name, step in steps_of(record, "train"):
        loss = charts.thinned(curve_points(step, "loss"))
        rate = {"learning rate": curve_points(step, "learning_rate")}
        norm = {"gradient norm": curve_points(step, "gradient_norm")}
        ends = [step.details.get(key) for key in ("loss_first", "loss_last")]
        if ends == [None, None] and loss:
            ends = [loss[0][1], loss[-1][1]]
        by_source = _by_source(step)
        held_out, asked = _measured(step)
        curves = {"loss": loss, "held out": held_out} if held_out else {"loss": loss}
        sections.append(
            {
                "name": name,
                "status": step.status,
                "loss": charts.line_chart(curves, f"{name}: loss over steps" + (", held out too" if held_out else "")),
                "asked": charts.line_chart(
                    {key: [(at, value) for at, value, *_ in points] for key, points in asked.items()},
                    f"{name}: benchmarks within the stage",
                    small=True,
                    smooth=False,
                ),
                "measured": [
                    (int(at), dict(held_out).get(at), {key: values.get(at) for key, values in _by_step(asked).items()})
                    for at in sorted({at for at, _ in held_out} | {at for p in asked.values() for at, *_ in p})
                ],
                "measured_keys": list(asked),
                "rate": charts.line_chart(rate, f"{name}: learning rate", small=True, smooth=False),
                "norm": charts.line_chart(norm, f"{name}: gradient norm", small=True),
                "by_source": charts.line_chart(by_source, f"{name}: loss by source") if len(by_source) > 1 else "",
                "sources": [(source, mapping(facts)) for source, facts in mapping(step.details.get("sources")).items()],
                "ends": ends,
                "points": loss[:: max(1, len(loss) // MOST_ROWS)],
                "rewards": _rewards(name, step),
                "rollouts": [
                    {**line, "pictures": [thumbnails.add(mapping(item)) for item in listed(line.get("media"))]}
                    for line in map(mapping, listed(step.details.get("rollouts_shown")))
                ],
                "rollouts_file": step.details.get("rollouts_file"),
                "warning": step.details.get("reward_warning"),
            }
        )
    return sections


def _rewards(name: str, step: StepRecord) -> list[tuple[str, str]]:
    """Charts of a stage that learned from rewards, each with its caption; none for other stages."""
    groups = {
        "reward, right answers (pass@1) and questions with one (pass@K)": ("reward", "pass_at_1", "pass_at_k"),
        "tokens of an answer": ("answer_tokens",),
        "entropy": ("entropy",),
        "divergence from the model before the stage": ("kl",),
        "share of clipped tokens": ("clip_share",),
        "how much likelier chosen answers became than rejected ones": ("reward_margin",),
    }
    charts_of = []
    for caption, keys in groups.items():
        curves = {key.replace("_", " "): points for key in keys if (points := curve_points(step, key))}
        if curves:
            charts_of.append((caption, charts.line_chart(curves, f"{name}: {caption}", small=True)))
    return charts_of


Measured = dict[str, list[tuple[float, float, float | None, float | None]]]
"""(step, value, low, high) by ``benchmark metric``."""


def _measured(step: StepRecord) -> tuple[list[tuple[float, float]], Measured]:
    """What was measured within the stage: the loss held out, and every metric of every benchmark."""
    held_out: list[tuple[float, float]] = []
    asked: Measured = {}
    for entry in map(mapping, listed(step.details.get("evaluations"))):
        at, loss = entry.get("step"), entry.get("held_out_loss")
        if not isinstance(at, int | float):
            continue
        if isinstance(loss, int | float):
            held_out.append((float(at), float(loss)))
        for benchmark, facts in mapping(entry.get("benchmarks")).items():
            for metric, value in mapping(facts).items():
                fact = mapping(value)
                if isinstance(fact.get("value"), int | float):
                    point = (float(at), float(fact["value"]), fact.get("low"), fact.get("high"))
                    asked.setdefault(f"{benchmark} {metric}", []).append(point)
    return held_out, asked


def _by_step(asked: Measured) -> dict[str, dict[float, tuple[float, float | None, float | None]]]:
    return {key: {at: (value, low, high) for at, value, low, high in points} for key, points in asked.items()}


def _by_source(step: StepRecord) -> dict[str, list[tuple[float, float]]]:
    """The curve of each source, at most six: the most supervised ones, by the steps in which they came."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for entry in listed(step.details.get("curve")):
        at = mapping(entry).get("step")
        for name, value in mapping(mapping(entry).get("loss_by_source")).items():
            if isinstance(at, int | float) and isinstance(value, int | float):
                curves.setdefault(str(name), []).append((float(at), float(value)))
    return dict(sorted(curves.items(), key=lambda item: -len(item[1]))[:6])
