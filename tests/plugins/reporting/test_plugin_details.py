"""`infimed plugins NAME` tells what a person needs to use a plugin, and what is wrong with it."""

import json
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infimed_core import InfimedError, load_plugins
from infimed_core.cli import application
from infimed_core.plugin_files import VARIABLE
from infimed_plugins.reporting.plugin_details import details, shown, type_text

MINE = '''
from typing import Literal
from infimed_core import Score, Scorer, hookimpl
from pydantic import Field

class Bright(Scorer):
    """Bright is good."""
    target: float = Field(default=0.5, ge=0.0, le=1.0, description="The best brightness.")
    how: Literal["mean", "median"] = "mean"
    names: tuple[str, ...] = ()
    place: str
    def score(self, samples, media): return [Score(value=1.0) for _ in samples]

@hookimpl
def infimed_scorers(): return {"bright": Bright, "lost": "nowhere:Lost"}
@hookimpl
def infimed_run_event(event): pass
@hookimpl
def infimed_benchmark_groups(): return {"several": lambda settings: []}
@hookimpl
def infimed_commands(): return {"greet": lambda: None, "check": lambda: None}
'''


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, "{}")
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path / "mine.py"


def test_a_plugin_is_shown_with_settings_groups_listeners_and_what_was_set_aside(mine: Path) -> None:
    registry = load_plugins()
    registry.add_file(mine)
    body = details(registry, "mine")
    assert (body["distribution"], body["commands"], body["benchmark_groups"]) == (
        "mine.py", ["greet", "mine/check"], ["several"])  # fmt: skip
    assert body["listens_to_runs"] and body["import_seconds"] > 0
    assert "there is no module 'nowhere'" in body["set_aside"] and "mine.py:" in body["set_aside"]
    bright, lost = body["components"]
    assert bright["summary"] == "Bright is good." and lost["set_aside"] and lost["settings"] == []
    assert bright["settings"] == [
        {"name": "target", "type": "float", "limits": ">= 0.0, <= 1.0", "help": "The best brightness.", "default": 0.5},
        {"name": "how", "type": "'mean' | 'median'", "limits": "", "help": "", "default": "mean"},
        {"name": "names", "type": "tuple[str, ...]", "limits": "", "help": "", "default": ()},
        {"name": "place", "type": "str", "limits": "", "help": ""},
    ]
    text = "\n".join(shown(body))
    assert "    target: float = 0.5, >= 0.0, <= 1.0\n      The best brightness." in text
    assert "place: str (needed)" in text and "commands: greet, mine/check" in text


def test_a_component_is_shown_by_any_of_its_names_and_every_built_in_can_be() -> None:
    registry = load_plugins()
    by_each = [details(registry, name) for name in ("best-fit", "packing/best-fit", "packer:best-fit")]
    assert {one["components"][0]["name"] for one in by_each} == {"packing/best-fit"}
    with pytest.raises(InfimedError, match="did you mean best-fit"):
        details(registry, "best-fitt")
    for name in registry.plugins:
        assert shown(json.loads(json.dumps(details(registry, name), default=str)))


def test_the_command_prints_text_and_json(mine: Path) -> None:
    registry = load_plugins()
    registry.add_file(mine)
    app = application(registry, "plugins")
    text = CliRunner().invoke(app, ["plugins", "scorer:bright"]).stdout
    assert text.startswith("\nscorer mine/bright: Bright is good.\n  in a run file: quality.scorers.*\n  settings:")
    body = json.loads(CliRunner().invoke(app, ["plugins", "mine", "--json"]).stdout)
    assert body["plugin"] == "mine" and len(body["version"]) == 12


def test_a_plugin_for_another_version_is_told_with_both_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "later-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: later\nVersion: 1.0\nRequires-Dist: infimed>=7,<8\n")
    (info / "entry_points.txt").write_text("[infimed]\nlater = later\n")
    (tmp_path / "later.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    body = details(load_plugins(), "later")
    installed = metadata.version("infimed")
    assert f"later 1.0 requires infimed>=7,<8, and infimed {installed} is installed" in body["set_aside"].replace(
        "<8,>=7", ">=7,<8"
    )
    assert body["components"] == [] and shown(body)[1].startswith("set aside: later 1.0 requires")


@pytest.mark.parametrize(
    ("annotation", "text"), [(int, "int"), (int | None, "int | None"), (dict[str, Path], "dict[str, Path]")]
)
def test_types_are_written_as_people_write_them(annotation: object, text: str) -> None:
    assert type_text(annotation) == text
