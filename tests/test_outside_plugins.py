"""A plugin can hurt only itself: many outside distributions, good and broken, installed by pip in one environment."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import forked
import pytest

from tests.test_third_party import ROOT, built, fresh_environment, install, shared_folder
from tests.third_party.make_plugins import BROKEN, GOOD, UNUSABLE, Outside

pytestmark = pytest.mark.slow


class Environment:
    """A fresh environment with our wheel; the dependencies are those of this environment."""

    def __init__(self, place: Path, wheel: Path) -> None:
        self.python, self.place = fresh_environment(place / "venv", wheel), place

    def install(self, *wheels: Path) -> None:
        install(self.python, "--force-reinstall", *wheels)

    def infimed(self, *arguments: object, expect: int = 0, program: str = "infimed", is_whole: bool = False) -> Any:
        """``is_whole``: a process that is started in full; the others are forked from one of this environment."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment["HEARD"] = str(self.place / "heard")
        command = [str(part) for part in (self.python.parent / program, *arguments)]
        if is_whole:
            done = subprocess.run(command, capture_output=True, text=True, cwd=self.place, env=environment, check=False)
        else:
            done = forked.finish(command, environment, self.place, python=self.python)
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    def run(self, name: str, expect: int = 0, is_whole: bool = False, **sections: Any) -> Any:
        file = self.place / f"{name}.yaml"
        file.write_text(json.dumps({"run": {"name": name, "directory": str(self.place / "runs")}, **sections}))
        return self.infimed(file, "--quiet", expect=expect, program="infimed-run", is_whole=is_whole)


def plain(place: Path) -> dict[str, Any]:
    """A run that names no outside plugin, and uses every default that one could take the place of."""
    rows = [
        {
            "id": f"s{n}",
            "turns": [
                {"role": "user", "content": [f"What is {n}?"]},
                {"role": "assistant", "content": [f"It is {n}."]},
            ],
        }
        for n in range(6)
    ]
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(place / "rows.jsonl")}}]},
        "quality": {"scorers": [{"use": "five-dimension"}]},
        "model": {"use": "constant", "with": {"text": "A"}},
        "evaluation": {"benchmarks": [{"use": "demo-text"}], "limit": 4},
    }


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A run is made before anything else is installed, to compare with."""
    found = Environment(tmp_path_factory.mktemp("outside"), built(ROOT, shared_folder(tmp_path_factory)))
    found.run("before", is_whole=True, **plain(found.place))
    found.install(*(outside.write(found.place) for outside in (*GOOD, *BROKEN, UNUSABLE)))
    found.infimed("plugins", is_whole=True)  # compiles what can be: an import is timed below
    return found


@pytest.fixture(scope="module")
def lines(environment: Environment) -> list[str]:
    told = environment.infimed("plugins").stdout.splitlines()
    return [line for line in told if line.startswith("plugin '")]


@pytest.mark.parametrize("outside", [one for one in (*BROKEN, *GOOD) if one.told], ids=lambda one: one.name)
def test_what_is_wrong_is_one_line_with_plugin_file_and_remedy(lines: list[str], outside: Outside) -> None:
    named = [line for line in lines if re.match(f"plugin '{outside.plugin_name}( of {outside.name})?'", line)]
    assert len(named) == 1, lines
    assert [part for part in outside.told if part not in named[0]] == []
    entry_point_alone = ("names-nothing", "newer", "bb-twin")
    assert outside.name in entry_point_alone or f"{outside.module}/__init__.py" in named[0]


def test_what_is_right_is_not_told(lines: list[str]) -> None:
    silent = {one.plugin_name for one in (*BROKEN, *GOOD) if not one.told} - {"twin"}
    assert [line for line in lines if line.split("'")[1] in silent] == []


def test_every_command_goes_on_with_the_exit_code_it_would_have(environment: Environment) -> None:
    body = json.loads(environment.infimed("plugins", "--json").stdout)
    assert {one.plugin_name for one in GOOD} <= set(body["plugins"])
    assert {"good-even", "good-lazy"} <= {name.split("/")[1] for name in body["components"]["scorer"]}
    assert ": ok" in environment.infimed("check", ROOT / "examples" / "full.yaml").stdout
    assert "greet" in environment.infimed("--help").stdout
    assert environment.infimed("greet", "--name", "all").stdout == "hello all\n"
    assert "not yours" in environment.infimed("command-taken/check").stdout
    environment.infimed("schema", "run")
    environment.infimed("no-such-command", expect=2)
    failed = environment.infimed("fail", expect=1).stderr
    assert re.search(
        r"plugin 'good-command': its command 'fail' failed: KeyError: 'lost' \(.*__init__.py:\d+\)", failed
    )


def test_a_run_that_names_no_outside_plugin_is_the_same_bit_for_bit(environment: Environment) -> None:
    environment.run("after", **plain(environment.place))

    def made(name: str) -> tuple[Any, ...]:
        directory = environment.place / "runs" / name
        record = json.loads((directory / "run.json").read_text())
        answers = {path.name: path.read_text() for path in (directory / "answers").iterdir()}
        artifacts = sorted(path.name for path in (directory / "artifacts").iterdir())
        return record["results"], record["comparisons"], record["plugins"], answers, artifacts

    assert made("before") == made("after")
    notes = environment.run("after", **plain(environment.place)).stderr
    assert not [line for line in notes.splitlines() if not line.strip().startswith("plugin '")], notes


def test_outside_components_of_every_hook_make_a_run_and_their_versions_count(environment: Environment) -> None:
    (environment.place / "lines.txt").write_text("Is it?\nIs it not?\nWho knows?\n")
    sections = {
        "data": {
            "sources": [{"use": "good-lines", "with": {"path": str(environment.place / "lines.txt")}}],
            "executor": {"use": "good-here"},
            "filters": [{"use": "good-first"}],
        },
        "quality": {"scorers": [{"use": "good-even"}, {"use": "good-lazy"}], "select": {"use": "good-all"}},
        "model": {"use": "good-yes"},
        "evaluation": {
            "benchmarks": [{"use": "good-both", "solver": {"use": "good-plain"}, "metrics": ["accuracy", "good-half"]}]
        },
    }
    environment.run("outside", **sections)
    path = environment.place / "runs" / "outside" / "run.json"
    record = json.loads(path.read_text())
    assert record["results"][0]["metrics"]["accuracy"]["value"] == 1.0
    assert {row["name"] for row in record["plugins"]} >= {
        "good-reader", "good-executor", "good-old-filter", "good-scorer", "good-selector", "good-model",
        "good-benchmark", "good-solver", "good-metric",
    }  # fmt: skip
    assert "run_finished" in (environment.place / "heard").read_text()

    def again() -> dict[str, str]:
        environment.run("outside", **sections)
        return {step["name"]: step["status"] for step in json.loads(path.read_text())["steps"]}

    metric = next(one for one in GOOD if one.name == "good-metric")
    environment.install(metric.write(environment.place, version="1.1"))
    done = again()
    assert done["evaluate-base-x"] == "done", "another version of a metric measures anew"
    assert {done["read"], done["score"], done["model"]} == {"reused"}, "and nothing else is done again"
    (environment.place / "lines.txt").write_text("Is it?\nIs it not?\nWho knows!\n")  # of the same size
    assert again()["read"] == "done", "the default fingerprint reads the file"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"quality": {"scorers": [{"use": "hidden"}]}}, r"plugin 'unusable': Hidden cannot go to another process"),
        ({"quality": {"scorers": [{"use": "silent"}]}}, r"plugin 'unusable': .*Silent cannot be written as JSON"),
        ({"quality": {"scorers": [{"use": "lost"}]}}, r"step 'score': plugin 'unusable': Lost.score .* 0 scores for 6"),
        ({"quality": {"scorers": [{"use": "endless"}]}}, r"step 'score': .* Endless.score .*'half' is nan"),
        ({"data": {"executor": {"use": "torn"}}}, r"step 'read': plugin 'unusable': Torn.map .* 1 results for 2 items"),
        ({"data": {"executor": {"use": "again"}}}, r"step 'read': plugin 'unusable': Again.map .* repeats"),
        ({"evaluation": {"benchmarks": [{"use": "good-three", "solver": {"use": "turned"}}]}}, r"Turned.solve .* '2'"),
        ({"evaluation": {"benchmarks": [{"use": "good-three", "metrics": ["skewed"]}]}}, r"Skewed.values .* averages"),
        ({"evaluation": {"benchmarks": [{"use": "good-three", "metrics": ["no-number"]}]}}, r"NoNumber.compute .* nan"),
        ({"data": {"filters": [{"use": "mute"}]}}, r"step 'filter-mute': .* Mute.check .* 's0' without a reason"),
        ({"quality": {"scorers": [{"use": "five-dimension"}], "select": {"use": "silence"}}},
         r"step 'select': .* Silence.select .* without a reason"),
        ({"report": [{"use": "nowhere"}]}, r"step 'report-nowhere': .* Nowhere.write .* which is not there"),
        ({"report": [{"use": "vandal"}]}, r"step 'report-vandal': .* Vandal.write .* changed run.json"),
    ],
)  # fmt: skip
def test_a_component_that_breaks_its_promise_is_one_line_in_the_run_that_names_it(
    environment: Environment, change: dict[str, Any], told: str
) -> None:
    sections = plain(environment.place)
    for name, section in change.items():
        sections[name] = {**sections[name], **section} if name == "data" else section
    name = re.sub(r"\W+", "-", told)[:40].strip("-")
    before_it_starts = "cannot" in told
    done = environment.run(name, expect=2 if before_it_starts else 1, **sections)
    told_lines = [line for line in done.stderr.splitlines() if "reuse_answers: false" not in line]
    own = [line for line in told_lines if not line.strip().startswith("plugin '")]
    assert len(own) == 1 and re.search(told, own[0]), done.stderr
    assert "unusable/__init__.py" in own[0]
