"""`infimed new` writes a plugin of every kind that works as it is written."""

import json
import os
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import forked
import pytest

from infimed_core import KINDS, InfimedError, load_plugins
from infimed_core.plugin_files import VARIABLE
from infimed_core.testing import run
from infimed_plugins.authoring.command import checked, write
from infimed_plugins.authoring.templates import TEMPLATES
from infimed_plugins.authoring.writing import NewPlugin
from tests.test_outside_plugins import Environment
from tests.test_third_party import ROOT, built, install, shared_folder

NAMES = {kind: f"my-{kind.replace(' ', '-')}" for kind in KINDS}


@pytest.fixture(autouse=True)
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "{}")


def test_every_kind_has_a_template() -> None:
    assert set(TEMPLATES) == set(KINDS)


@pytest.mark.parametrize("name", ["my-name", "scorer", "metric", "any", "x2"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_file_is_a_plugin_that_offers_its_component_whatever_its_name(
    kind: str, name: str, tmp_path: Path
) -> None:
    plugin = NewPlugin(kind, name)
    write(
        {tmp_path / "module" / f"{plugin.snake}_.py": plugin.module(), tmp_path / f"{plugin.snake}_.py": plugin.file()}
    )
    for file in (tmp_path / "module" / f"{plugin.snake}_.py", tmp_path / f"{plugin.snake}_.py"):
        registry = load_plugins()
        registry.drop_files()
        owner = registry.add_file(file)
        component = registry.find(kind, f"{owner}/{name}")
        assert (component.__doc__ or "").strip()
        notes = [text for plugin, text in registry.notes if plugin == owner and "import takes" not in text]
        assert owner not in registry.broken and notes == []
    if TEMPLATES[kind].function:
        body = [line for line in plugin.file().splitlines() if line]
        assert len(body) <= 8, "a first plugin is short"


def test_a_name_that_cannot_be_is_told_with_its_remedy(tmp_path: Path) -> None:
    registry = load_plugins()
    for kind, name, told in (
        ("wizard", "mine", "there is no kind 'wizard'; write one of: reader, "),
        ("scorer", "My_Score", "write small letters, digits and hyphens"),
        ("scorer", "five-dimension", r"is there already \(quality/five-dimension\)"),
        ("scorer", "quality", "a plugin named 'quality' is installed already"),
    ):
        with pytest.raises(InfimedError, match=told):
            checked(registry, kind, name)
    assert checked(registry, "resolution-scheduler", "mine").kind == "resolution scheduler"
    write({tmp_path / "a.py": ""})
    with pytest.raises(InfimedError, match="is there already"):
        write({tmp_path / "b.py": "", tmp_path / "a.py": ""})
    assert not (tmp_path / "b.py").exists()


def test_the_guide_shows_what_is_written_for_every_kind_and_its_first_plugin_runs(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    examples = dict(re.findall(r"### ([^\n]+)\n.*?```python title=\"(\w+)\.py\"\n", text, flags=re.S))
    blocks = dict(re.findall(r"```python title=\"(\w+)\.py\"\n(.*?)```", text, flags=re.S))
    assert {kind.capitalize() for kind in KINDS} == set(examples)
    for kind in KINDS:
        file = examples[kind.capitalize()]
        assert blocks[file] == NewPlugin(kind, file.replace("_", "-")).file(), kind
    assert len(blocks["short_answers"].rstrip().splitlines()) <= 8
    write({tmp_path / "short_answers.py": blocks["short_answers"]})
    document = {
        "run": {"name": "mine", "plugins": [str(tmp_path / "short_answers.py")]},
        "model": {"use": "constant", "with": {"text": "axial"}},
        "evaluation": {"benchmarks": [{"use": "demo-text", "metrics": ["accuracy", "short-answers"]}], "limit": 8},
    }
    assert run(document, tmp_path).results[0].metrics["short-answers"].value == 1.0


def run_file(place: Path) -> dict[str, Any]:
    """Sections that name a new plugin of every kind but the one that needs another stage."""
    (place / "rows.tsv").write_text(
        "".join(f"Which plane is number {n}?\tit is axial, number {n}\n" for n in range(20))
    )
    return {
        "data": {
            "sources": [{"use": "my-reader", "with": {"path": str(place / "rows.tsv")}}],
            "executor": {"use": "my-executor"},
            "filters": [{"use": "my-filter"}],
            "modalities": {"my-modality": {}},
        },
        "quality": {"scorers": [{"use": "my-scorer"}], "select": {"use": "my-selector", "with": {"minimum": 0.1}}},
        "models": {"writer": {"use": "constant", "with": {"text": "an axial plane"}}, "other": {"use": "my-model"}},
        "reasoning": {"use": "my-synthesizer"},
        "model": {"use": "tiny-qwen3-vl"},
        "resolution": {"use": "my-resolution-scheduler"},
        "packing": {"use": "my-packer", "with": {"row_tokens": 512}},
        "training": {"use": "my-trainer", "with": {"stages": [{"name": "one", "num_steps": 2}]}},
        "evaluation": {
            "models": ["one", "other"],
            "benchmarks": [
                {"use": "my-benchmark", "solver": {"use": "my-solver"}, "metrics": ["accuracy", "my-metric"]}
            ],
            "baselines": ["my-baseline"],
        },
        "report": [{"use": "my-reporter"}],
    }


def training_with(objective: dict[str, Any]) -> dict[str, Any]:
    stage = {"name": "one", "num_steps": 2, "objective": objective, "optimizer": {"use": "my-optimizer"}}
    stage |= {
        "schedule": {"use": "my-schedule"},
        "augmentations": [{"use": "my-augmentation"}],
        "curriculum": {"use": "my-curriculum"},
    }
    return {"use": "staged", "with": {"stages": [stage], "num_workers": 0}}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """One fresh environment with a new plugin of every kind, installed as its README says and not edited."""
    made = Environment(tmp_path_factory.mktemp("new"), built(ROOT, shared_folder(tmp_path_factory)))
    for number, (kind, name) in enumerate(NAMES.items()):
        made.infimed("new", kind, name, is_whole=number == 0)
    folders = [made.place / f"infimed-{name}" for name in NAMES.values()]
    editable = [part for folder in folders for part in ("-e", folder)]
    install(made.python, "--no-build-isolation", *editable)
    tests = [str(folder) for folder in folders]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=tests.xml", *tests]
    forked.finish(command, environment, made.place, python=made.python)
    sections = run_file(made.place)
    made.run("every-kind", is_whole=True, **sections)
    last = {"model": sections["model"], "data": {**sections["data"], "filters": []}, "packing": sections["packing"]}
    made.run("objective", **last, training=training_with({"use": "my-objective"}))
    return made


def plugins_of(environment: Environment, run: str) -> list[str]:
    record = json.loads((environment.place / "runs" / run / "run.json").read_text())
    assert record["status"] == "done"
    return [plugin["name"] for plugin in record["plugins"]]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_project_is_installed_by_pip_keeps_its_promises_and_runs(environment: Environment, kind: str) -> None:
    cases = {
        case.attrib["name"]: [child.attrib.get("message", "") for child in case]
        for case in ET.parse(environment.place / "tests.xml").iter("testcase")
    }
    snake = NAMES[kind].replace("-", "_")
    (mine,) = [name for name in cases if name.startswith(f"test_{snake}_keeps")]
    assert cases[mine] == []
    told = json.loads(environment.infimed("plugins", NAMES[kind], "--json").stdout)
    assert told["set_aside"] is None and [note for note in told["notes"] if "import takes" not in note] == []
    assert [one["name"] for one in told["components"]] == [f"{NAMES[kind]}/{NAMES[kind]}"]
    if kind == "reward":
        return  # rewards are named by what draws answers; its own test shows that it scores
    in_stage = kind in ("objective", "optimizer", "schedule", "augmentation", "curriculum")
    assert NAMES[kind] in plugins_of(environment, "objective" if in_stage else "every-kind")


@pytest.mark.slow
def test_what_the_new_plugins_do_is_in_the_record(environment: Environment) -> None:
    record = json.loads((environment.place / "runs" / "every-kind" / "run.json").read_text())
    rows = {row["model"]: row["metrics"] for row in record["results"] if not row["group"]}
    assert {"one", "other", "my-baseline.baseline", "most-common-answer"} == set(rows)
    assert rows["other"]["my-metric"]["value"] == 1.0 and rows["my-baseline.baseline"]["accuracy"]["value"] == 0.0
    steps = {step["kind"]: step for step in record["steps"]}
    assert (
        steps["reasoning"]["num_out"] > 0 and (environment.place / "runs" / "every-kind" / "my-reporter.csv").exists()
    )


@pytest.mark.slow
def test_one_file_of_each_kind_that_may_be_a_function_runs_by_its_path(environment: Environment) -> None:
    kinds = [kind for kind in KINDS if TEMPLATES[kind].function]
    for kind in kinds:
        environment.infimed("new", kind, f"small-{kind}", "--file")
    sections = {
        "data": {
            "sources": [{"use": "jsonl", "with": {"path": str(environment.place / "rows.jsonl")}}],
            "filters": [{"use": "small-filter"}],
        },
        "quality": {"scorers": [{"use": "small-scorer"}]},
        "model": {"use": "constant"},
        "evaluation": {
            "benchmarks": [{"use": "demo-text", "solver": {"use": "small-solver"}, "metrics": ["small-metric"]}],
            "limit": 4,
        },
    }
    row = {"id": "r", "turns": [{"role": role, "content": ["one two three"]} for role in ("user", "assistant")]}
    (environment.place / "rows.jsonl").write_text(json.dumps(row) + "\n")
    environment.run("files", plugins=[f"small_{kind}.py" for kind in kinds], **sections)
    assert {f"small_{kind}" for kind in kinds} <= set(plugins_of(environment, "files"))
    done = environment.infimed("--plugin", "small_reward.py", "plugins", "small_reward")
    assert re.search(r"reward small_reward/small-reward: 1 where the answer begins", done.stdout)
    assert "small-metric" not in done.stdout and sys.executable
