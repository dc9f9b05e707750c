"""``infimed mdt-schema``: the JSON Schema that a line of a file of cases obeys."""

from __future__ import annotations

import json


def mdt_schema() -> None:
    """Print the JSON Schema of one case of ``mdt-cases`` (one line of a file of cases)."""
    from infimed_plugins.mdt.cases import case_schema

    print(json.dumps(case_schema(), indent=2))
