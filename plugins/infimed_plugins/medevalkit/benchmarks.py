"""One benchmark component for each data card; a card is read only when its benchmark is used."""

from __future__ import annotations

from infimed_core import Benchmark
from infimed_plugins.medevalkit.benchmark import KitBenchmark
from infimed_plugins.medevalkit.cards import names


def _component(name: str) -> type[Benchmark]:
    title = "".join(part.capitalize() for part in name.split("-"))
    body = {
        "__module__": __name__,
        "__qualname__": title,
        "__doc__": f"MedEvalKit's benchmark ``{name}``; its data card is tasks/{name}.yaml.",
        "card_name": name,
    }
    return type(title, (KitBenchmark,), body)


_TABLE = {name: _component(name) for name in names()}
globals().update({component.__name__: component for component in _TABLE.values()})  # so that they can be pickled


def table() -> dict[str, type[Benchmark]]:
    """Component name to class."""
    return dict(_TABLE)
