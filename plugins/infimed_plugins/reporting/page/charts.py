"""The report's charts, each as a Vega-Lite specification: lines, distributions, funnels, intervals, phases, costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from infimed_plugins.reporting.page.drawing import COLOURS, draw
from infimed_plugins.reporting.page.figures import number, printable

Point = tuple[float, float]
LARGEST = 1e200
"""Beyond this a figure is not drawn (differences would overflow); NaN and infinities fail the same test."""


def thinned(points: Sequence[Point], at_most: int = 240) -> list[Point]:
    """At most ``at_most`` points: the means of equal runs of neighbours, so that no spike decides the picture."""
    finite = [(x, y) for x, y in points if abs(x) < LARGEST and abs(y) < LARGEST]
    if len(finite) <= at_most:
        return finite
    size = math.ceil(len(finite) / at_most)
    runs = (finite[start : start + size] for start in range(0, len(finite), size))
    return [(sum(x for x, _ in run) / len(run), sum(y for _, y in run) / len(run)) for run in runs]


def smoothed(points: Sequence[Point]) -> list[Point]:
    """A centred moving average over about a tenth of the points, narrower towards the ends, so that it never lags."""
    reach = max(len(points) // 20, 1)
    result: list[Point] = []
    for index, (x, _) in enumerate(points):
        near = min(reach, index, len(points) - 1 - index)
        window = points[index - near : index + near + 1]
        result.append((x, sum(y for _, y in window) / len(window)))
    return result


def _rows(points: Sequence[Point], **more: Any) -> list[dict[str, Any]]:
    return [{"x": x, "y": y, **more} for x, y in points]


def line_chart(
    series: Mapping[str, Sequence[Point]], label: str, small: bool = False, smooth: bool = True, over: str = "step"
) -> str:
    """Curves over steps or what ``over`` names, one per name: points thin, their moving average thick.

    Empty where no point is finite.
    """
    drawn = {name: found for name, points in series.items() if (found := thinned(points))}
    if not drawn:
        return ""
    low = min(y for points in drawn.values() for _, y in points)
    high = max(y for points in drawn.values() for _, y in points)
    # From zero where the curve is not far above it, so that a fall looks as deep as it is.
    scale: dict[str, Any] = {"zero": bool(0 < low < high * 0.5), "nice": not small}
    if high - low <= 1e-9 * max(abs(high), abs(low)):
        scale = {"domain": [low - abs(low) * 0.1 - 1e-9, high + abs(high) * 0.1 + 1e-9]}
    names = list(drawn)
    colour = {
        "field": "name", "type": "nominal", "sort": None,
        "scale": {"domain": [printable(name) for name in names], "range": [COLOURS[i % 6] for i in range(len(names))]},
        "legend": {} if len(names) > 1 else None,
    }  # fmt: skip
    steps = sorted({x for points in drawn.values() for x, _ in points})
    x = {
        "field": "x", "type": "quantitative", "title": None if small else over,
        "scale": {"domain": [steps[0], max(steps[-1], steps[0] + 1)], "nice": False},
        "axis": {"grid": False, "labels": not small, "tickCount": 5},
    }  # fmt: skip
    y = {
        "field": "y", "type": "quantitative", "title": None, "scale": scale,
        "axis": {"tickCount": 2 if small else 5},
    }  # fmt: skip
    layers: list[dict[str, Any]] = []
    for name, points in drawn.items():
        shown = {"x": x, "y": y, "color": colour}
        if len(points) == 1:
            layers.append(_layer(_rows(points, name=printable(name)), {"type": "point", "filled": True}, shown))
            continue
        faint = smooth and len(points) > 8
        thin = {"type": "line", "strokeWidth": 1, "opacity": 0.35} if faint else {"type": "line", "strokeWidth": 2}
        layers.append(_layer(_rows(points, name=printable(name)), thin, shown))
        if faint:
            layers.append(_layer(_rows(smoothed(points), name=printable(name)), {"type": "line"}, shown))
    return draw({"width": 400, "height": 56 if small else 190, "layer": layers}, label, "line")


def _layer(rows: list[dict[str, Any]], mark: dict[str, Any], encoding: dict[str, Any]) -> dict[str, Any]:
    return {"data": {"values": rows}, "mark": mark, "encoding": encoding}


def histogram(counts: Sequence[float], label: str, mean: float | None = None) -> str:
    """Counts over equal bins of [0, 1], heights their square roots, with a mark at the mean."""
    size = len(counts)
    rows = [
        {
            "low": index / size,
            "high": (index + 1) / size,
            "count": count,
            "told": f"{index / size:.2f} to {(index + 1) / size:.2f}: {number(float(count), 0)} samples",
        }
        for index, count in enumerate(counts)
    ]
    x = {
        "field": "low", "type": "quantitative", "title": None, "scale": {"domain": [0, 1]},
        "axis": {"values": [0, 0.5, 1], "grid": False, "domain": True},
    }  # fmt: skip
    encoding = {
        "x": x, "x2": {"field": "high"}, "description": {"field": "told"},
        "y": {"field": "count", "type": "quantitative", "title": None, "axis": None, "scale": {"type": "sqrt"}},
        "y2": {"datum": 0},
    }  # fmt: skip
    layers = [_layer(rows, {"type": "rect", "color": "var(--accent)", "stroke": "var(--ground)"}, encoding)]
    if mean is not None and math.isfinite(mean):
        at = {"x": {"field": "at", "type": "quantitative"}, "description": {"value": f"mean {number(mean)}"}}
        mark = {"type": "rule", "color": "var(--warm)", "strokeWidth": 2}
        layers.append(_layer([{"at": min(max(mean, 0.0), 1.0)}], mark, at))
    return draw({"width": 300, "height": 80, "layer": layers}, label, "histogram")


def funnel(steps: Sequence[tuple[str, int, int]], label: str) -> str:
    """Samples that each step let through and dropped: (name, in, out), in order."""
    rows = []
    for name, num_in, num_out in steps:
        name = printable(name)
        rows.append({"step": name, "kept": "kept", "count": num_out, "told": f"{name}: {num_out:,} of {num_in:,} kept"})
        if num_in > num_out:
            lost = num_in - num_out
            rows.append({"step": name, "kept": "dropped", "count": lost, "told": f"{name}: {lost:,} dropped"})
    y = {"field": "step", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 160, "grid": False}}
    x = {
        "field": "count", "type": "quantitative", "title": "samples", "stack": "zero",
        "axis": {"tickCount": 5, "format": ",d"},
    }  # fmt: skip
    colour = {
        "field": "kept", "type": "nominal", "scale": {"domain": ["kept", "dropped"], "range": [COLOURS[0], COLOURS[1]]},
        "legend": {"symbolType": "square"},
    }  # fmt: skip
    encoding = {
        "y": y,
        "x": x,
        "color": colour,
        "description": {"field": "told"},
        "order": {"field": "kept", "sort": "descending"},
    }
    chart = {"width": 360, "height": {"step": 20}, **_layer(rows, {"type": "bar", "height": 12}, encoding)}
    return draw(chart, label, "funnel", max(len(name) for name, _, _ in steps))


def intervals(
    lines: Sequence[tuple[str, float | None, float | None, float | None, str]],
    label: str,
    baseline: float | None = None,
    domain: tuple[float, float] = (0.0, 1.0),
    zero: bool = False,
) -> str:
    """Dots with their intervals: (name, value, low, high, kind), kind ``model`` or ``constant``; a dashed baseline.

    ``zero`` marks the zero line of differences instead.
    """
    rows: list[dict[str, Any]] = []
    for name, value, low, high, kind in lines:
        if value is not None and abs(value) < LARGEST:
            name = printable(name)
            told = f"{name}: {number(value)}"
            ends = (low, high) if low is not None and high is not None else (value, value)
            told += f", interval {number(ends[0])} to {number(ends[1])}" if low is not None else ""
            colour = COLOURS[5] if kind == "constant" else COLOURS[0]
            rows.append({"name": name, "value": value, "low": ends[0], "high": ends[1], "colour": colour, "told": told})
    if not rows:
        return ""
    names = list(dict.fromkeys(row["name"] for row in rows))
    longest = max(map(len, names))
    y = {
        "field": "name", "type": "nominal", "sort": names, "title": None,
        "axis": {"grid": False, "labelLimit": 260, "labelColor": "var(--ink)"},
    }  # fmt: skip
    scale = {"domain": list(domain), "nice": False}
    x = {
        "field": "low",
        "type": "quantitative",
        "title": None,
        "scale": scale,
        "axis": {"tickCount": 6},
    }
    coloured = {"field": "colour", "type": "nominal", "scale": None}
    told_by = {"description": {"field": "told"}}
    layers: list[dict[str, Any]] = []
    mark = 0.0 if zero else baseline
    if mark is not None:
        dashes = {"type": "rule", "color": "var(--soft)", "strokeDash": [4, 3]}
        at = {"x": {"field": "at", "type": "quantitative", "scale": scale}}
        layers.append(_layer([{"at": mark}], dashes, at))
    wide = {"type": "rule", "strokeWidth": 3, "opacity": 0.5, "strokeCap": "round"}
    layers.append(_layer(rows, wide, {"y": y, "x": x, "x2": {"field": "high"}, "color": coloured, **told_by}))
    dot = {"type": "point", "filled": True, "size": 75, "opacity": 1}
    layers.append(_layer(rows, dot, {"y": y, "x": {**x, "field": "value"}, "color": coloured, **told_by}))
    return draw({"width": 330, "height": {"step": 24}, "layer": layers}, label, "intervals", longest)


def phase_chart(phases: Sequence[tuple[float, float | None]], label: str) -> str:
    """The visual-token cap over a stage: (samples, cap) in order; ``None`` is native resolution."""
    caps = [cap for _, cap in phases if cap is not None]
    most = max(caps, default=1.0)
    top = most * 1.25 if any(cap is None for _, cap in phases) else most
    rows, start = [], 0.0
    for samples, cap in phases:
        name = "native" if cap is None else number(float(cap), 0)
        told = f"{number(float(samples), 0)} samples at {name} visual tokens an image"
        end = start + samples
        rows.append({"start": start, "end": end, "middle": (start + end) / 2, "cap": top if cap is None else cap,
                     "name": name, "told": told})  # fmt: skip
        start = end
    x = {
        "field": "start", "type": "quantitative", "title": "samples",
        "scale": {"domain": [0, max(start, 1)], "nice": False},
        "axis": {"grid": False, "tickCount": 4, "domain": True},
    }  # fmt: skip
    y = {"field": "cap", "type": "quantitative", "title": None, "axis": None, "scale": {"domain": [0, top * 1.2]}}
    bars = {"type": "rect", "color": "var(--accent)", "opacity": 0.75, "stroke": "var(--ground)"}
    names = {"type": "text", "dy": -7, "color": "var(--ink)", "fontSize": 11}
    layers = [
        _layer(
            rows, bars, {"x": x, "x2": {"field": "end"}, "y": y, "y2": {"datum": 0}, "description": {"field": "told"}}
        ),
        _layer(rows, names, {"x": {**x, "field": "middle"}, "y": y, "text": {"field": "name"}}),
    ]
    return draw({"width": 400, "height": 90, "layer": layers}, label, "phases")


def cost_chart(points: Sequence[tuple[str, float, float, float | None, float | None]], x_label: str, label: str) -> str:
    """Accuracy against cost: (name, cost, value, low, high) in order of cost, joined by a line."""
    if not points:
        return ""
    rows: list[dict[str, Any]] = []
    for index, (name, cost, value, low, high) in enumerate(points):
        told = f"{printable(name)}: {number(value)} at {number(cost, 1)}"
        rows.append({"name": printable(name), "cost": cost, "value": value, "low": value if low is None else low,
                     "high": value if high is None else high, "told": told, "index": index})  # fmt: skip
    most = max(row["cost"] for row in rows) or 1.0
    x = {
        "field": "cost", "type": "quantitative", "title": x_label, "scale": {"domain": [0, most * 1.24], "nice": False},
        "axis": {"grid": False, "tickCount": 6},
    }  # fmt: skip
    y = {
        "field": "value",
        "type": "quantitative",
        "title": None,
        "scale": {"domain": [-0.09, 1], "nice": False},  # room for a name below a dot at zero
        "axis": {"values": [0, 0.2, 0.4, 0.6, 0.8, 1]},
    }
    told_by = {"description": {"field": "told"}}
    wide = {"type": "rule", "strokeWidth": 3, "opacity": 0.5, "strokeCap": "round", "color": COLOURS[0]}
    dot = {"type": "point", "filled": True, "size": 75, "opacity": 1, "color": COLOURS[0]}
    layers = [
        _layer(rows, {"type": "line", "opacity": 0.4, "strokeWidth": 1.5, "color": COLOURS[0]}, {"x": x, "y": y}),
        _layer(rows, wide, {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}),
        _layer(rows, dot, {"x": x, "y": y, **told_by}),
    ]  # fmt: skip
    # Labels alternate above and below the dots, so that neighbours at nearly equal cost stay readable.
    for side, shift in ((0, 14), (1, -12)):
        mark = {
            "type": "text",
            "align": "left",
            "dx": 8,
            "dy": shift,
            "fontSize": 11,
            "color": "var(--ink)",
            "limit": 84,
        }
        here = [row for row in rows if row["index"] % 2 == side]
        layers.append(_layer(here, mark, {"x": x, "y": y, "text": {"field": "name"}}))
    return draw({"width": 400, "height": 200, "layer": layers}, label, "cost")
