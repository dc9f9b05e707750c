"""Finding plugins: broken ones are set aside, twins and misspelt hooks are errors, names are never guessed."""

import sys
import types
from importlib import metadata
from pathlib import Path

import pytest

from infimed_core import Metric, PluginError, RunEvent, hookimpl
from infimed_core.plugins import KINDS, load_plugins


class Constant(Metric):
    """Always one."""

    def compute(self, scores):  # type: ignore[no-untyped-def]
        return 1.0


def entry(name: str, module: str) -> metadata.EntryPoint:
    return metadata.EntryPoint(name=name, value=module, group="infimed")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    def make(name: str, **members: object) -> str:
        made = types.ModuleType(name)
        for key, value in members.items():
            setattr(made, key, value)
        monkeypatch.setitem(sys.modules, name, made)
        return name

    return make


def metrics_hook(table: dict[str, object]):  # type: ignore[no-untyped-def]
    def infimed_metrics() -> dict[str, object]:
        return table

    return hookimpl(infimed_metrics)


def test_built_ins_offer_at_least_one_component_of_every_kind() -> None:
    registry = load_plugins()
    assert registry.broken == {}
    assert [kind for kind in KINDS if not registry.components(kind)] == []
    assert registry.broken == {}


def test_two_plugins_with_one_component_name_must_be_qualified(module) -> None:  # type: ignore[no-untyped-def]
    one = module("one", infimed_metrics=metrics_hook({"same": Constant}))
    two = module("two", infimed_metrics=metrics_hook({"same": Constant}))
    registry = load_plugins([entry("two", two), entry("one", one)])
    with pytest.raises(PluginError, match="one/same, two/same"):
        registry.find("metric", "same")
    assert registry.find("metric", "two/same") is Constant


def test_two_distributions_with_one_plugin_name_are_an_error(module) -> None:  # type: ignore[no-untyped-def]
    one, two = module("one"), module("two")
    with pytest.raises(PluginError, match="two distributions announce a plugin named 'twin'"):
        load_plugins([entry("twin", one), entry("twin", two)])


def test_broken_plugin_is_set_aside_and_told_when_a_name_is_missing(module) -> None:  # type: ignore[no-untyped-def]
    good = module("good", infimed_metrics=metrics_hook({"constant": Constant}))
    registry = load_plugins([entry("good", good), entry("broken", "there_is_no_such_module")])
    assert registry.find("metric", "constant") is Constant
    with pytest.raises(
        PluginError, match=r"set aside: broken \(ModuleNotFoundError.*pip install there_is_no_such_module"
    ):
        registry.find("metric", "absent")


def test_misspelt_hook_is_an_error(module) -> None:  # type: ignore[no-untyped-def]
    def infimed_metricks() -> dict[str, object]:
        return {}

    with pytest.raises(PluginError, match="infimed_metricks"):
        load_plugins([entry("bad", module("bad", infimed_metricks=hookimpl(infimed_metricks)))])


def test_hook_that_returns_an_instance_is_an_error(module) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PluginError, match="must return component classes"):
        load_plugins([entry("bad", module("bad", infimed_metrics=metrics_hook({"x": Constant()})))]).components(
            "metric"
        )


def test_near_miss_is_suggested_and_other_kind_is_named(module) -> None:  # type: ignore[no-untyped-def]
    registry = load_plugins([entry("good", module("good", infimed_metrics=metrics_hook({"constant": Constant})))])
    with pytest.raises(PluginError, match="did you mean 'constant'"):
        registry.find("metric", "constnt")
    with pytest.raises(PluginError, match="'constant' is a metric"):
        registry.find("model", "constant")


def test_order_of_entry_points_decides_nothing(module) -> None:  # type: ignore[no-untyped-def]
    entries = [entry(name, module(name, infimed_metrics=metrics_hook({name: Constant}))) for name in "cab"]
    tables = [load_plugins(order).components("metric") for order in (entries, entries[::-1])]
    assert list(tables[0]) == list(tables[1])


def test_listener_that_raises_is_told_and_stops_nothing(module) -> None:  # type: ignore[no-untyped-def]
    heard: list[str] = []

    def bad(event: RunEvent) -> None:
        raise RuntimeError("no disk")

    def good(event: RunEvent) -> None:
        heard.append(event.kind)

    bad.__name__ = good.__name__ = "infimed_run_event"
    one = module("one", infimed_run_event=hookimpl(specname="infimed_run_event")(bad))
    two = module("two", infimed_run_event=hookimpl(specname="infimed_run_event")(good))
    registry = load_plugins([entry("one", one), entry("two", two)])
    failures = registry.tell(RunEvent("message", "", str(Path())))
    assert failures == ["listener 'one' failed: RuntimeError: no disk"]
    assert heard == ["message"]
