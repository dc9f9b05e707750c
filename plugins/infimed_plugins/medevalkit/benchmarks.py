"""One benchmark component for each data card; a card is read only when its benchmark is used."""

from __future__ import annotations

from infimed_core import Benchmark
from infimed_plugins.medevalkit.benchmark import KitBenchmark
from infimed_plugins.medevalkit.card_names import names, title_of


def _component(name: str) -> type[Benchmark]:
    title = title_of(name)
    body = {
        "__module__": __name__,
        "__qualname__": title,
        "__doc__": f"MedEvalKit's benchmark ``{name}``; its data card is tasks/{name}.yaml.",
        "card_name": name,
    }
    return type(title, (KitBenchmark,), body)


def __getattr__(title: str) -> type[Benchmark]:
    """The class of a card, made when it is first asked for; it stays here, so that it can be pickled."""
    name = _TITLES.get(title)
    if name is None:
        raise AttributeError(f"module {__name__!r} has no attribute {title!r}")
    globals()[title] = _component(name)
    found: type[Benchmark] = globals()[title]
    return found


_TITLES = {title_of(name): name for name in names()}


def table() -> dict[str, type[Benchmark]]:
    """Component name to class."""
    return {name: __getattr__(title) if title not in globals() else globals()[title] for title, name in _TITLES.items()}
