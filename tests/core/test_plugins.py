"""Finding plugins: whatever is wrong with one is told in one line and hurts no other; names are never guessed."""

import pickle
import sys
import threading
import types
from importlib import metadata
from pathlib import Path

import pytest
from pydantic import PrivateAttr

from infimed_core import ConfigError, Metric, PluginError, RunEvent, Score, Scorer, hookimpl, load_run_file
from infimed_core.named_files import digest_of_files
from infimed_core.plugins import KINDS, load_plugins


class Constant(Metric):
    """Always one."""

    def compute(self, scores):  # type: ignore[no-untyped-def]
        return 1.0


class Counting(Scorer):
    """Keeps private state, and state that is derived from its settings."""

    step: int = 1
    _words: list[str] = PrivateAttr(default_factory=list)

    def model_post_init(self, context: object) -> None:
        self._words.extend(["x"] * self.step)
        object.__setattr__(self, "derived", 2 * self.step)

    def score(self, samples, media):  # type: ignore[no-untyped-def]
        return [Score(value=1.0) for _ in samples]


class Locked(Counting):
    """Holds what cannot be pickled."""

    _lock: object = PrivateAttr(default_factory=threading.Lock)


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


def test_the_second_of_two_distributions_with_one_plugin_name_is_set_aside(module) -> None:  # type: ignore[no-untyped-def]
    one = module("one", infimed_metrics=metrics_hook({"first": Constant}))
    two = module("two", infimed_metrics=metrics_hook({"second": Constant}))
    registry = load_plugins([entry("twin", one), entry("twin", two)])
    assert registry.find("metric", "first") is Constant
    (line,) = registry.new_notes()
    assert "announces a plugin named 'twin'" in line and "uninstall one of them" in line


def test_broken_plugin_is_set_aside_and_told_when_a_name_is_missing(module) -> None:  # type: ignore[no-untyped-def]
    good = module("good", infimed_metrics=metrics_hook({"constant": Constant}))
    registry = load_plugins([entry("good", good), entry("broken", "there_is_no_such_module")])
    assert registry.find("metric", "constant") is Constant
    with pytest.raises(
        PluginError, match=r"set aside: broken \(its entry point names the module 'there_is_no_such_mod"
    ):
        registry.find("metric", "absent")


def test_misspelt_hook_sets_its_plugin_aside_and_says_what_was_meant(module) -> None:  # type: ignore[no-untyped-def]
    def infimed_metricks() -> dict[str, object]:
        return {}

    good = module("good", infimed_metrics=metrics_hook({"constant": Constant}))
    bad = module("bad", infimed_metricks=hookimpl(infimed_metricks))
    registry = load_plugins([entry("bad", bad), entry("good", good)])
    (line,) = registry.new_notes()
    assert line.startswith("plugin 'bad': there is no hook 'infimed_metricks'")
    assert __file__ in line and "did you mean 'infimed_metrics'?" in line
    assert registry.find("metric", "constant") is Constant


@pytest.mark.parametrize(
    ("offered", "told"),
    [
        ({"x": Constant()}, "offers 'x'"),
        ([Constant], "returned list"),
        (None, "returned None"),
        ({"a/b": Constant}, "offers the name 'a/b'"),
        ({"x": str}, "is no Metric"),
        ({"x": "nowhere:Metric"}, "there is no module 'nowhere'"),
        ({"x": "json:Metric"}, "there is no 'Metric' in"),
    ],
)
def test_hook_that_returns_something_else_is_told_and_stops_nothing(module, offered, told) -> None:  # type: ignore[no-untyped-def]
    bad = module("bad", infimed_metrics=metrics_hook(offered))
    good = module("good", infimed_metrics=metrics_hook({"constant": Constant}))
    registry = load_plugins([entry("bad", bad), entry("good", good)])
    assert list(registry.components("metric")) == ["good/constant"]
    (line,) = registry.new_notes()
    assert line.startswith("plugin 'bad': infimed_metrics ") and told in line and __file__ in line


@pytest.mark.parametrize("lazy", [False, True])
def test_a_syntax_error_is_told_once_with_its_place_and_no_advice_on_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lazy: bool
) -> None:
    name = f"torn_{lazy}".lower()
    scorers = f"{{'a': '{name}.deep:A', 'b': '{name}.deep:B'}}"
    hooks = f"from infimed_core import hookimpl\n@hookimpl\ndef infimed_scorers(): return {scorers}\n"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(hooks if lazy else "x = 1\ndef nothing(:\n")
    (tmp_path / name / "deep.py").write_text("x = 1\ndef nothing(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = load_plugins([*metadata.entry_points(group="infimed"), entry("torn", name)])
    file = tmp_path / "run.yaml"
    quality = "quality: {scorers: [{use: a}, {use: b}]}\n"
    file.write_text("run: {name: r, plugins: [torn]}\ndata: {sources: [{use: demo-anatomy}]}\n" + quality)
    with pytest.raises(ConfigError) as caught:
        load_run_file(file, registry)
    said = str(caught.value)
    assert said.count("SyntaxError") == 1 and "pip" not in said and said.count("as told above") == (1 if lazy else 2)
    assert f"{tmp_path / name / ('deep.py' if lazy else '__init__.py')}:2)" in said and "line 2" not in said
    assert registry.new_notes(said) == []


def test_private_state_survives_pickling_or_is_refused_with_the_reason(module) -> None:  # type: ignore[no-untyped-def]
    made = Counting(step=3)
    assert pickle.loads(pickle.dumps(made))._words == ["x"] * 3
    assert pickle.loads(pickle.dumps(made)).derived == 6
    scorers = hookimpl(specname="infimed_scorers")(lambda: {"locked": Locked, "counting": Counting})
    registry = load_plugins([entry("one", module("one", infimed_scorers=scorers))])
    assert registry.make("scorer", "counting", {"step": 2})
    with pytest.raises(PluginError, match=r"plugin 'one': Locked cannot go to another process.*cached_property"):
        registry.make("scorer", "locked")


def test_another_version_of_an_outside_distribution_is_another_identity() -> None:
    one, other = Constant(), type("Constant", (Constant,), {"plugin_version": "2.0", "__module__": __name__})()
    assert one.identity() != other.identity() and other.identity().endswith("|2.0")


def test_default_fingerprint_sees_every_file_and_folder_that_a_setting_names(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("a.txt", "b.txt", "c-1.csv", "folder/d.txt"):
        (tmp_path / name).write_text("same")
    settings = {
        "path": tmp_path / "a.txt",
        "more": {"list": [str(tmp_path / "b.txt")]},
        "pattern": str(tmp_path / "c-*.csv"),
        "place": tmp_path / "folder",
        "text": "? what / is it",
    }
    seen = {digest_of_files(settings)}
    for name in ("a.txt", "b.txt", "c-1.csv", "folder/d.txt", "folder/new.txt", "c-2.csv"):
        (tmp_path / name).write_text("diff")
        seen.add(digest_of_files(settings))
    assert len(seen) == 7
    assert digest_of_files({"separator": "/", "here": "."}) == digest_of_files({})


def test_names_of_version_0_1_go_on_working_with_a_warning() -> None:
    import infimed_core

    for old, new in (("Gate", "DatasetFilter"), ("Gated", "FilterResult"), ("Use", "ComponentRef")):
        with pytest.warns(DeprecationWarning, match=new):
            assert getattr(infimed_core, old) is getattr(infimed_core, new)


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
    assert failures == ["plugin 'one': its listener infimed_run_event raised RuntimeError: no disk; the run goes on"]
    assert heard == ["message"]
