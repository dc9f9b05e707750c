"""Small charts as SVG elements: lines, bars, intervals and phases, drawn without a library and safe to embed.

Every text goes through an XML tree, so nothing that comes from data can become markup. Colours are CSS classes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from xml.etree import ElementTree

Point = tuple[float, float]
LARGEST = 1e200
"""Beyond this a figure is not drawn (differences would overflow); NaN and infinities fail the same test."""
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def _svg(width: float, height: float, label: str, kind: str) -> ElementTree.Element:
    return ElementTree.Element(
        "svg",
        {
            "viewBox": f"0 0 {width:g} {height:g}",
            "role": "img",
            "aria-label": printable(label),
            "class": f"chart {kind}",
        },
    )


def _add(parent: ElementTree.Element, tag: str, text: str = "", **attributes: float | str) -> ElementTree.Element:
    named = {
        name.rstrip("_").replace("_", "-"): f"{value:.2f}".rstrip("0").rstrip(".")
        if isinstance(value, float)
        else str(value)
        for name, value in attributes.items()
    }
    element = ElementTree.SubElement(parent, tag, named)
    if text:
        element.text = printable(text)
    return element


def _finish(root: ElementTree.Element) -> str:
    return ElementTree.tostring(root, encoding="unicode")


def printable(text: str) -> str:
    """``text`` without the control characters and lone surrogates that neither XML nor UTF-8 can hold."""
    return "".join(
        letter
        if letter in "\n\t" or (letter >= " " and not "\ud800" <= letter <= "\udfff" and letter != "\x7f")
        else "\ufffd"
        for letter in text
    )


def number(value: float | None, digits: int = 3) -> str:
    """A figure for people: ``0.712``, ``12,345``, ``3.4e-05``; a dash for ``None`` and for what is not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) < 1e9 and value == int(value) and (abs(value) >= 1000 or digits == 0):
        return f"{int(value):,}"
    if abs(value) >= 1e9:
        return f"{value:.2e}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if value != 0 and abs(value) < 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}"


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values between ``low`` and ``high``, about ``count`` of them, always at least one."""
    raw = (high - low) / count
    if not 0 < raw < math.inf:
        return [low]
    power = 10.0 ** math.floor(math.log10(raw))
    if power == 0.0:
        return [low]
    step = min((1, 2, 2.5, 5, 10), key=lambda factor: abs(factor * power - raw)) * power
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, min(last, first + 20) + 1)] or [low]


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


def line_chart(
    points: Sequence[Point],
    label: str,
    y_range: tuple[float, float] | None = None,
    small: bool = False,
    smooth: bool = True,
) -> str:
    """One curve over steps: the points thin, their moving average thick. Empty text where there is no finite point."""
    points = thinned(points)
    if not points:
        return ""
    width, height, left, bottom, top = (440.0, 72.0, 48.0, 6.0, 6.0) if small else (440.0, 220.0, 48.0, 22.0, 8.0)
    x_low, x_high = points[0][0], max(points[-1][0], points[0][0] + 1e-9)
    y_low, y_high = min(y for _, y in points), max(y for _, y in points)
    # From zero where the curve is not far above it, so that a fall looks as deep as it is.
    y_low = 0.0 if 0 < y_low < y_high * 0.5 else y_low
    if y_high - y_low < 1e-12:
        y_low, y_high = y_low - abs(y_low) * 0.1 - 1e-9, y_high + abs(y_high) * 0.1 + 1e-9

    def place(x: float, y: float) -> Point:
        right = (x - x_low) / (x_high - x_low) if x_high > x_low else 0.5
        up = (y - y_low) / (y_high - y_low)
        return left + right * (width - left - 8), height - bottom - up * (height - bottom - top)

    root = _svg(width, height, label, "line")
    for value in ticks(y_low, y_high, 2 if small else 4):
        _, y = place(x_low, value)
        _add(root, "line", x1=left, x2=width - 8, y1=y, y2=y, class_="grid")
        _add(root, "text", number(value, 2), x=left - 6, y=y + 3.5, class_="tick end")
    if not small:
        for value in (x_low, x_high):
            x, _ = place(value, y_low)
            _add(
                root,
                "text",
                number(float(round(value)), 0),
                x=x,
                y=height - 6,
                class_="tick " + ("end" if value == x_high else "start"),
            )
        _add(root, "text", "step", x=(left + width) / 2, y=height - 6, class_="tick middle")

    def draw(line: Sequence[Point], kind: str) -> None:
        path = " ".join(
            f"{'L' if index else 'M'}{x:.1f} {y:.1f}" for index, (x, y) in enumerate(place(*p) for p in line)
        )
        _add(root, "path", d=path, class_=kind)

    if len(points) == 1:
        x, y = place(*points[0])
        _add(root, "circle", cx=x, cy=y, r=3.0, class_="dot")
    elif smooth and len(points) > 8:
        draw(points, "curve faint")
        draw(smoothed(points), "curve")
    else:
        draw(points, "curve")
    return _finish(root)


def histogram(counts: Sequence[float], label: str, mean: float | None = None) -> str:
    """Counts over equal bins of [0, 1], with a mark at the mean."""
    width, height, bottom, top = 300.0, 104.0, 18.0, 6.0
    root = _svg(width, height, label, "histogram")
    most = max([*counts, 1])
    step = width / max(len(counts), 1)
    for index, count in enumerate(counts):
        tall = (height - bottom - top) * count / most
        bar = _add(
            root,
            "rect",
            x=index * step + 1,
            width=max(step - 2, 0.5),
            y=height - bottom - tall,
            height=tall,
            class_="bar",
        )
        _add(
            bar,
            "title",
            f"{index / len(counts):.2f} to {(index + 1) / len(counts):.2f}: {number(float(count), 0)} samples",
        )
    _add(root, "line", x1=0, x2=width, y1=height - bottom, y2=height - bottom, class_="axis")
    for value, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        _add(root, "text", f"{value:g}", x=value * width, y=height - 4, class_=f"tick {anchor}")
    if mean is not None and math.isfinite(mean):
        x = min(max(mean, 0.0), 1.0) * width
        _add(root, "line", x1=x, x2=x, y1=0, y2=height - bottom, class_="mark")
    return _finish(root)


def bar(share: float, label: str, lost: float = 0.0) -> str:
    """A horizontal bar: ``share`` of the full width, then ``lost`` of it in the colour of what was dropped."""
    width, height = 400.0, 14.0
    root = _svg(width, height, label, "share")
    root.set("preserveAspectRatio", "none")
    share = min(max(share, 0.0), 1.0)
    lost = min(max(lost, 0.0), 1.0 - share)
    _add(root, "rect", x=0, y=0, width=width, height=height, class_="track")
    _add(root, "rect", x=0, y=0, width=width * share, height=height, class_="bar")
    if lost > 0:
        _add(root, "rect", x=width * share, y=0, width=max(width * lost, 1.5), height=height, class_="lost")
    return _finish(root)


def interval(
    value: float | None, low: float | None, high: float | None, baseline: float | None, label: str, kind: str
) -> str:
    """A dot with its interval on [0, 1] and a dashed line at the baseline."""
    width, height = 240.0, 20.0
    root = _svg(width, height, label, "interval")

    def place(share: float) -> float:
        return 6 + min(max(share, 0.0), 1.0) * (width - 12)

    _add(root, "line", x1=place(0), x2=place(1), y1=10, y2=10, class_="grid")
    if baseline is not None:
        _add(root, "line", x1=place(baseline), x2=place(baseline), y1=1, y2=19, class_="baseline")
    if low is not None and high is not None:
        _add(root, "line", x1=place(low), x2=place(high), y1=10, y2=10, class_=f"whisker {kind}")
    if value is not None:
        _add(root, "circle", cx=place(value), cy=10, r=4.5, class_=f"dot {kind}")
    return _finish(root)


def phase_chart(phases: Sequence[tuple[float, float | None]], label: str) -> str:
    """Steps of the visual-token cap over a stage: (samples, cap) in order; ``None`` is native resolution."""
    width, height, bottom, top = 440.0, 104.0, 4.0, 16.0
    root = _svg(width, height, label, "phases")
    total = sum(samples for samples, _ in phases) or 1.0
    most = max((cap for _, cap in phases if cap is not None), default=1.0)
    has_native = any(cap is None for _, cap in phases)
    x = 0.0
    for samples, cap in phases:
        wide = width * samples / total
        share = 1.0 if cap is None else cap / most * (0.8 if has_native else 1.0)
        tall = max((height - bottom - top) * share, 3.0)
        block = _add(
            root, "rect", x=x + 1, y=height - bottom - tall, width=max(wide - 2, 0.5), height=tall, rx=2, class_="phase"
        )
        name = "native" if cap is None else number(float(cap), 0)
        _add(block, "title", f"{number(float(samples), 0)} samples at {name} visual tokens an image")
        if wide > 34:
            _add(root, "text", name, x=x + wide / 2, y=height - bottom - tall - 4, class_="tick middle")
        x += wide
    _add(root, "line", x1=0, x2=width, y1=height - bottom, y2=height - bottom, class_="axis")
    return _finish(root)


def cost_chart(points: Sequence[tuple[str, float, float, float | None, float | None]], x_label: str, label: str) -> str:
    """Accuracy against cost: (name, cost, value, low, high) in order of cost, joined by a line."""
    if not points:
        return ""
    width, height, left, bottom, top = 520.0, 230.0, 40.0, 38.0, 14.0
    root = _svg(width, height, label, "cost")
    most = max([cost for _, cost, *_ in points] + [1e-9])

    def place(x: float, y: float) -> Point:
        return left + x / most * (width - left - 60), height - bottom - min(max(y, 0.0), 1.0) * (height - bottom - top)

    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        _, y = place(0, value)
        _add(root, "line", x1=left, x2=width - 10, y1=y, y2=y, class_="grid")
        _add(root, "text", f"{value:g}", x=left - 6, y=y + 3.5, class_="tick end")
    for value in ticks(0, most, 4):
        x, _ = place(value, 0)
        _add(root, "text", number(value, 1 if most < 100 else 0), x=x, y=height - bottom + 14, class_="tick middle")
    _add(root, "text", x_label, x=(left + width) / 2, y=height - 6, class_="tick middle")
    path = " ".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(place(p[1], p[2]) for p in points))
    _add(root, "path", d=path, class_="curve faint")
    for index, (name, cost, value, low, high) in enumerate(points):
        x, y = place(cost, value)
        if low is not None and high is not None:
            _add(root, "line", x1=x, x2=x, y1=place(0, low)[1], y2=place(0, high)[1], class_="whisker")
        dot = _add(root, "circle", cx=x, cy=y, r=4.5, class_="dot")
        _add(dot, "title", f"{name}: {number(value)} at {number(cost, 1)}")
        # Labels alternate above and below the dots, so that neighbours at nearly equal cost stay readable.
        _add(root, "text", name, x=x + 7, y=y + (-8 if index % 2 else 14), class_="tick name")
    return _finish(root)
