"""Templates, styles and scripts of the pages, and the hashes by which a page's policy lets them in."""

from __future__ import annotations

import base64
import functools
import hashlib
from typing import Any

from infimed_plugins.reporting.page.figures import TEXT_LIMIT, figure, heat, num_counted, number, p_text, printable

FEW = 20
"""Questions of a cell below which it is greyed: its value says little."""


@functools.cache
def environment() -> Any:
    """Jinja with autoescaping and the filters that the pages share; each template is compiled once in a process."""
    import jinja2
    from markupsafe import Markup

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("infimed_plugins.reporting.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    made.globals["few"] = FEW
    made.globals["text_limit"] = TEXT_LIMIT
    made.filters["number"] = number
    made.filters["p_value"] = p_text
    made.filters["counted"] = num_counted
    made.filters["figure"] = figure
    made.filters["heat"] = heat
    made.filters["plain"] = lambda value: printable(str(value))
    made.filters["drawing"] = Markup  # Only for what report_charts let through its XML tree.
    return made


def asset(made: Any, name: str) -> str:
    """A file of the templates' folder, as it is."""
    text, _, _ = made.loader.get_source(made, name)
    return str(text)


def digest(text: str) -> str:
    """The source expression that lets exactly this text in."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
