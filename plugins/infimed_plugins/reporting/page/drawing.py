"""A chart from its Vega-Lite specification: drawn to SVG by vl-convert while the page is written.

Texts of the data stand in data values alone, never in a field name or an expression, and what comes back is let into
the page only through an XML tree of known elements. Colours are the page's CSS variables, so light and dark work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from infimed_plugins.reporting.page.figures import printable

COLOURS = ("var(--accent)", "var(--warm)", "var(--other)", "var(--good)", "var(--bad)", "var(--soft)")
FONT = "system-ui, sans-serif"
SVG = "http://www.w3.org/2000/svg"
ELEMENTS = {"svg", "g", "path", "line", "rect", "circle", "text", "tspan", "title"}
ATTRIBUTES = {
    "viewBox", "transform", "d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "fill",
    "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linecap", "stroke-linejoin",
    "opacity", "text-anchor", "font-family", "font-size", "font-weight", "dx", "dy",
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "background": None,
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "domain": False, "ticks": False, "gridColor": "var(--line)", "domainColor": "var(--soft)",
        "titleFontWeight": 400,
        "labelColor": "var(--soft)", "titleColor": "var(--soft)", "labelFontSize": 11, "titleFontSize": 11,
        "labelPadding": 5,
    },
    "legend": {
        "orient": "top", "title": None, "labelColor": "var(--ink)", "labelFontSize": 11, "symbolType": "stroke",
        "labelLimit": 220, "columns": 3, "symbolOpacity": 1, "symbolStrokeWidth": 2,
    },
}  # fmt: skip


def draw(specification: Mapping[str, Any], label: str, kind: str, longest: int = 0) -> str:
    """One chart as an SVG element with ``label`` as its name for screen readers.

    Marks carry what their ``description`` channel says as a tooltip. ``longest`` is the number of letters of
    the longest name on the left: a reader's font may be wider than the one that is measured here.
    """
    import vl_convert

    config = {**CONFIG, "padding": {"left": 8 + min(longest, 40), "right": 6, "top": 2, "bottom": 2}}
    text = vl_convert.vegalite_to_svg({**specification, "config": config}, allowed_base_urls=[])
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(text)
    _clean(root)
    root.attrib.update({"role": "img", "aria-label": printable(label), "class": f"chart {kind}"})
    return ElementTree.tostring(root, encoding="unicode")


def _clean(element: ElementTree.Element) -> None:
    """Keep known elements and attributes; a mark's description becomes its tooltip."""
    for child in list(element):
        name = child.tag.removeprefix(f"{{{SVG}}}")
        empty = name == "path" and not (child.get("stroke") or child.get("fill"))
        if name not in ELEMENTS or empty or (name == "path" and child.get("display") == "none"):
            element.remove(child)
            continue
        _clean(child)
        if name == "g" and len(child) == 0:
            element.remove(child)
    told = element.get("aria-label")
    is_mark = element.get("aria-roledescription") not in (None, "axis", "legend", "title", "group mark container")
    for name in [name for name in element.attrib if name not in ATTRIBUTES]:
        del element.attrib[name]
    if element.tag == f"{{{SVG}}}svg":
        for name in ("width", "height"):
            element.attrib.pop(name, None)
    elif told and is_mark:
        title = ElementTree.Element(f"{{{SVG}}}title")
        title.text = told
        element.insert(0, title)
