"""A plugin may be one file: its functions are components in every process, and a broken one hurts its own run alone."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import forked
import pytest
from typer.testing import CliRunner

from infimed_core import ConfigError, GradedAnswer, PluginError, Score, load_plugins, load_run_file
from infimed_core.cli import application, leading_plugins
from infimed_core.plugin_files import VARIABLE
from infimed_core.testing import check_filter, check_metric, check_scorer, check_solver, make_sample, run

MINE = '''
import os
from infimed_core import Request, Scorer, Score, dataset_filter, metric, offer, scorer, solver

@metric
def share_of_a(answer):
    """How many answers are A."""
    return float(answer.answer.text == "A")

@scorer
def brief(sample):
    """The shorter the better; it tells the process that it runs in."""
    return Score(value=1 / len(sample.turns[0].text), parts={"brief": None}, raw={"process": os.getpid()})

@dataset_filter
def odd(sample):
    """Leaves out every other sample."""
    return "odd_number" if int(sample.id[1:]) % 2 else None

@solver
def once(samples, ask, generation):
    """Asks once."""
    return ask([Request(sample_id=s.id, turns=s.turns, media=s.media, generation=generation) for s in samples])

@offer
class LongEnough(Scorer):
    """Has a setting."""
    fewest: int = 3
    def score(self, samples, media):
        return [Score(value=float(len(sample.turns[0].text) >= self.fewest)) for sample in samples]
'''


@pytest.fixture(autouse=True)
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "{}")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path / "mine.py"


def document(place: Path, name: str = "one", plugins: tuple[str, ...] = ("./mine.py",)) -> dict:
    rows = [
        {"id": f"s{n}", "turns": [{"role": role, "content": [f"What is {n}?"]} for role in ("user", "assistant")]}
        for n in range(140)  # two parts of more than 64, one for each process
    ]
    for part in (0, 1):
        (place / f"{part}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows[part * 70 : part * 70 + 70])
        )
    return {
        "run": {"name": name, "plugins": list(plugins), "directory": str(place / "runs")},
        "data": {
            "sources": [{"use": "jsonl", "with": {"path": str(place / f"{part}.jsonl")}} for part in (0, 1)],
            "executor": {"use": "processes", "with": {"num_processes": 2}},
            "filters": [{"use": "odd"}],
        },
        "quality": {"scorers": [{"use": "mine/brief"}, {"use": "long-enough", "with": {"fewest": 4}}]},
        "model": {"use": "constant", "with": {"text": "A"}},
        "evaluation": {
            "benchmarks": [{"use": "demo-text", "solver": {"use": "once"}, "metrics": ["share-of-a"]}],
            "limit": 4,
        },
    }


def test_functions_of_one_file_do_a_run_with_worker_processes_and_their_hash_is_the_version(mine: Path) -> None:
    from infimed_core.records import open_run

    record = run(document(mine.parent), mine.parent)
    assert record.results[0].metrics["share-of-a"].value == 1.0
    (info,) = [row for row in record.plugins if row.name == "mine"]
    assert info.distribution == "mine.py" and len(info.version) == 12
    finished = open_run(mine.parent / "runs" / "one")
    assert finished.step("filter").dropped == {"odd_number": 70}
    processes = {score.raw["process"] for _, score in finished.scores("mine-brief") if score.raw}
    assert processes and os.getpid() not in processes

    def again() -> dict[str, str]:
        return {step.name: step.status for step in run(document(mine.parent), mine.parent).steps}

    assert set(again().values()) == {"reused"}
    mine.write_text(MINE.replace("1 / len", "0.5 / len"))
    done = again()
    assert (done["read"], done["score"], done["evaluate-base-demo-text"]) == ("reused", "done", "done")
    elsewhere = mine.parent / "elsewhere"
    elsewhere.mkdir()
    mine.rename(elsewhere / "mine.py")
    moved = document(mine.parent, plugins=("elsewhere/mine.py",))
    assert {step.status for step in run(moved, mine.parent).steps} == {"reused"}, "the content counts, not the place"


def test_a_run_file_may_name_plugins_at_its_top(mine: Path) -> None:
    body = document(mine.parent)
    body["plugins"] = body["run"].pop("plugins")
    file = mine.parent / "run.yaml"
    file.write_text(json.dumps(body))
    plan = load_run_file(file, load_plugins())
    assert plan.file.run.plugins == ("./mine.py",) and "mine" in plan.plugins
    assert plan.as_json()["run"]["plugins"] == ["./mine.py"] and "plugins" not in plan.as_json()


BROKEN = {
    "syntax": ("x = 1\ndef nothing(:\n", r"SyntaxError: .*broken.py:2\); mend it"),
    "import": ("import surely_not_there\n", r"needs the module 'surely_not_there'.*broken.py:1"),
    "raises": ("\nraise KeyError('gone')\n", r"KeyError: 'gone' .*broken.py:2"),
    "leaves": ("import sys\nsys.exit(3)\n", r"sys.exit\(3\) .*broken.py:2.*may not end the program"),
    "hook": ("from infimed_core import hookimpl\n@hookimpl\ndef infimed_scorrers(): return {}\n", r"did you mean 'inf"),
    "parameters": ("from infimed_core import metric\n@metric\ndef m(answr): return 1\n", r"must take \(answer\) or"),
    "decorator": ("from infimed_core import offer\n@offer\nclass X: pass\n", r"X is no component; derive it from"),
    "attribute": ("from infimed_core import metric\n@metric(colour=1)\ndef m(answer): pass\n", r"attribute 'colour'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_line_in_the_run_that_names_it_and_nothing_elsewhere(mine: Path, name: str) -> None:
    source, told = BROKEN[name]
    (mine.parent / "broken.py").write_text(source)
    (mine.parent / "run.yaml").write_text(json.dumps(document(mine.parent, plugins=("broken.py",))))
    registry = load_plugins()
    with pytest.raises(ConfigError, match=told) as caught:
        load_run_file(mine.parent / "run.yaml", registry)
    assert len(caught.value.problems) == 1 and "run.plugins.0: the plugin file " in str(caught.value)
    (mine.parent / "good.yaml").write_text(json.dumps(document(mine.parent)))
    assert load_run_file(mine.parent / "good.yaml", registry)
    assert registry.new_notes() == [] and "broken.py" not in os.environ[VARIABLE]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("gone.py",), "gone.py cannot be read: No such file"),
        (("./mine.py", "again/mine.py"), "two plugin files are named mine.py; rename"),
        (("quality.py",), "has the name of an installed plugin, 'quality'"),
        (("again/",), "cannot be a plugin"),
        (("a b.py",), "cannot be a plugin"),
    ],
)
def test_a_file_that_cannot_be_a_plugin_is_told_with_its_remedy(mine: Path, names: tuple[str, ...], told: str) -> None:
    (mine.parent / "again").mkdir()
    for name in ("again/mine.py", "quality.py", "a b.py"):
        (mine.parent / name).write_text(MINE + "#")
    (mine.parent / "run.yaml").write_text(json.dumps(document(mine.parent, plugins=names)))
    with pytest.raises(ConfigError) as caught:
        load_run_file(mine.parent / "run.yaml", load_plugins())
    (line,) = caught.value.problems
    assert told in line and f"run.plugins.{len(names) - 1}" in line


def test_the_next_run_file_does_not_see_the_files_of_the_last_one_but_those_of_the_command(mine: Path) -> None:
    (mine.parent / "run.yaml").write_text(json.dumps(document(mine.parent)))
    (mine.parent / "bare.yaml").write_text(json.dumps(document(mine.parent, plugins=())))
    registry = load_plugins()
    load_run_file(mine.parent / "run.yaml", registry)
    assert "mine" in load_plugins().plugins, "whoever needs a registry in this process or a worker gets the files too"
    with pytest.raises(ConfigError, match="no metric is named 'share-of-a'"):
        load_run_file(mine.parent / "bare.yaml", registry)
    registry.add_file(mine, always=True)
    assert load_run_file(mine.parent / "bare.yaml", registry)
    assert load_run_file(mine.parent / "bare.yaml", load_plugins())


def test_a_file_that_changes_while_it_is_in_use_is_an_error_and_not_other_code(mine: Path) -> None:
    registry = load_plugins()
    registry.add_file(mine)
    pickled = pickle.dumps(registry.make("scorer", "brief"))
    load = f"import pickle; print(pickle.loads({pickled!r}))"
    assert subprocess.run([sys.executable, "-c", load], capture_output=True, text=True, check=True).stdout == "\n"
    mine.write_text(MINE + "\n# another time\n")
    done = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True, check=False)
    assert "was changed while it was in use; start the command again" in done.stderr


def test_the_command_line_takes_files_before_the_command(mine: Path) -> None:
    assert leading_plugins(["--plugin", "a.py", "--plugin=b.py", "check", "--plugin", "c"]) == (
        ["a.py", "b.py"],
        "check",
    )
    assert leading_plugins(["--version"]) == ([], "") and leading_plugins(["--plugin"]) == ([], "")
    done = CliRunner().invoke(application(load_plugins()), ["--version"])
    assert done.exit_code == 0 and done.stdout.startswith("infimed 0.")
    mine.write_text(MINE + "\nfrom infimed_core import hookimpl\n@hookimpl\ndef infimed_commands():\n"
                    "    def greet(): print('hello')\n    return {'greet': greet}\n")  # fmt: skip
    command = ["-c", "from infimed_core.cli import main; main()"]
    done = forked.finish([*command, "--plugin", mine, "greet"])
    assert done.returncode == 0 and done.stdout == "hello\n" and done.stderr == ""
    done = forked.finish([*command, "--plugin", "no.py", "greet"])
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "no.py cannot be read" in done.stderr


def test_functions_keep_the_promises_of_their_kinds(mine: Path) -> None:
    registry = load_plugins()
    registry.add_file(mine)
    samples = [make_sample(f"s{n}", question="?" * (n + 1)) for n in range(4)]
    scores = check_scorer(registry.make("scorer", "brief"), samples, registry.media_loader())
    assert [round(score.value, 2) for score in scores] == [1.0, 0.5, 0.33, 0.25]
    assert check_filter(registry.make("filter", "odd"), samples).rejected == {
        "s1": ("odd_number",),
        "s3": ("odd_number",),
    }
    assert [answer.text for answer in check_solver(registry.make("solver", "once"), samples)] == ["A"] * 4
    assert check_metric(registry.make("metric", "share-of-a"), [Score(value=0.5)] * 3) == 1.0
    assert registry.find("metric", "share-of-a").__doc__ == "How many answers are A."
    assert registry.find("scorer", "long-enough").model_fields.keys() == {"fewest"}


def test_each_form_of_a_function_is_taken(tmp_path: Path) -> None:
    (tmp_path / "forms.py").write_text("""
from infimed_core import dataset_filter, metric, reward, scorer, solver, Answer, DataError
@metric(name="mean", higher_is_better=False)
def of_scores(scores): return sum(score.value for score in scores) / len(scores)
@metric
def of_answers(answers): return float(len(answers))
@metric("each")
def of_answer(answer): return answer.score.value
@scorer
def with_media(sample, media):
    if sample.id == "a": raise DataError("dark", "too dark")
    return None if sample.id == "b" else 0.25
@dataset_filter
def of_samples(samples, benchmarks): return {sample.id: ("late", "odd") for sample in list(samples)[1:]}
@solver
def silent(samples): return [Answer(sample_id=sample.id, text="") for sample in samples]
@reward
def short(rollout): return 1.0 if len(rollout.text) < 9 else 0.0
""")
    registry = load_plugins()
    registry.add_file(tmp_path / "forms.py")
    rows = [GradedAnswer(make_sample(f"{n}"), None, Score(value=value)) for n, value in enumerate((0.0, 1.0))]
    mean = registry.make("metric", "mean")
    assert mean.compute_answers(rows) == 0.5 and not mean.higher_is_better
    assert registry.make("metric", "of-answers").compute_answers(rows) == 2.0
    each = registry.make("metric", "each")
    assert each.compute_answers(rows) == 0.5 and each.answer_values(rows).tolist() == [0.0, 1.0]
    assert each.compute_answers([GradedAnswer(make_sample("x"), None, Score())]) is None
    samples = [make_sample(name) for name in "abc"]
    first, second, third = check_scorer(registry.make("scorer", "with-media"), samples, registry.media_loader())
    assert (first.status, first.reasons, second.status, second.value, third.parts) == (
        "error", ("dark",), "unscored", None, {"with_media": 0.25})  # fmt: skip
    assert check_filter(registry.make("filter", "of-samples"), samples).rejected["c"] == ("late", "odd")
    assert len(check_solver(registry.make("solver", "silent"), samples)) == 3
    from infimed_core import Rollout

    made = registry.make("reward", "short").score(
        [Rollout(samples[0], "brief", 1), Rollout(samples[0], "long " * 9, 9)]
    )
    assert [score.value for score in made] == [1.0, 0.0]
    with pytest.raises(PluginError, match="has no attribute"):
        from infimed_core import metric

        metric(lambda answer: 1.0, name="x", colour="red")


@pytest.mark.slow
def test_a_plugin_file_works_on_every_rank(mine: Path) -> None:
    body = document(mine.parent, "ranks")
    mine.write_text(MINE.replace("    return ask(", "    assert int(os.environ['RANK']) == 0\n    return ask("))
    (mine.parent / "run.yaml").write_text(json.dumps(body))
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m"]
    environment = os.environ | {VARIABLE: "{}"}
    done = forked.finish([*command, "infimed_core", mine.parent / "run.yaml", "--quiet"], environment)
    assert done.returncode == 0, done.stderr
    record = json.loads((mine.parent / "runs" / "ranks" / "run.json").read_text())
    assert record["status"] == "done" and record["environment"]["ranks"] == 2
    assert record["results"][0]["metrics"]["share-of-a"]["value"] == 1.0
