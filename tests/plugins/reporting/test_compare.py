"""`infimed compare`: its figures are those computed by hand, and it puts nothing unlike into one table unasked."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from scipy import stats
from typer.testing import CliRunner

from infimed_core import InfimedError
from infimed_core.plugins import load_plugins
from infimed_core.store.record import read_record
from infimed_core.testing import run
from infimed_plugins.reporting import commands
from infimed_plugins.reporting.compare.comparison import compare_runs
from infimed_plugins.reporting.compare.page import FORMATS
from infimed_plugins.reporting.compare.published import chosen_tables, installed_tables, read_published
from infimed_plugins.reporting.compare.text import tables

sys.path.insert(0, str(Path(__file__).parent))

from compare_by_hand import THREE, by_hand, demo, gaps, scores

REGISTRY = load_plugins()
app = typer.Typer()
app.command()(commands.compare)
app.command()(commands.show)
TEXTS = {"base": "Yes", "one": "A", "all": "B"}


def document(name: str, text: str, **changes: Any) -> dict[str, Any]:
    """A run of the demo's benchmarks whose model says one thing throughout."""
    return {
        "run": {"name": name, "seed": 1},
        "model": {"use": "constant", "with": {"text": text}},
        "evaluation": {
            "benchmarks": [
                {"use": "demo-vqa", "with": {"max_samples": 120}},
                {"use": "demo-text", "with": {"max_samples": 40}},
            ],
            **changes,
        },
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("compared")
    for name, text in TEXTS.items():
        run(document(name, text), folder)
    run(document("short", "A", limit=60), folder)
    return {name: folder / "runs" / name for name in (*TEXTS, "short")}


def paths(runs: dict[str, Path], *names: str) -> list[str]:
    return [str(runs[name]) for name in names]


def test_every_difference_equals_the_one_computed_by_hand(runs: dict[str, Path]) -> None:
    found = compare_runs(paths(runs, "base", "one", "all"), REGISTRY)
    assert len(found.benchmarks) == 2 * 3 and found.models == ("base:base", "one:base", "all:base")
    assert max(gaps(runs, (*found.benchmarks, *found.cells))) < 1e-9
    tested = [row for row in found.benchmarks if row.test == "t"]
    assert tested and all(row.low < row.difference < row.high for row in tested)


def test_adjusted_p_values_are_holms_over_the_table(runs: dict[str, Path]) -> None:
    from statsmodels.stats.multitest import multipletests

    found = compare_runs(paths(runs, "base", "one", "all"), REGISTRY)
    for rows in (found.benchmarks, found.cells, found.means):
        expected = multipletests([row.p_value for row in rows], method="holm")[1]
        assert [row.p_adjusted for row in rows] == pytest.approx(list(expected), abs=1e-12)


def test_the_mean_of_benchmarks_weighs_them_alike(runs: dict[str, Path]) -> None:
    found = compare_runs(paths(runs, "base", "one"), REGISTRY)
    (mean,) = found.means
    parts = [by_hand(scores(runs["one"], name), scores(runs["base"], name)) for name in ("demo-vqa", "demo-text")]
    assert mean.of == "mean of 2 benchmarks" and mean.benchmarks == ("demo-vqa", "demo-text")
    assert mean.difference == pytest.approx(np.mean([part["difference"] for part in parts]))
    if all("error" in part for part in parts):
        welch = [part["error"] ** 2 / 4 for part in parts]
        freedom = sum(welch) ** 2 / sum(v**2 / part["freedom"] for v, part in zip(welch, parts, strict=True))
        p = 2 * stats.t.sf(abs(mean.difference) / np.sqrt(sum(welch)), freedom)
        assert mean.p_value == pytest.approx(p) and mean.test == "means"


def test_another_protocol_is_refused_with_the_difference_named(runs: dict[str, Path]) -> None:
    with pytest.raises(InfimedError) as told:
        compare_runs(paths(runs, "one", "short"), REGISTRY)
    text = str(told.value)
    assert "demo-vqa: short:base and one:base" in text and "limit: 60 and none" in text
    assert "questions: 0 only in the first and 60 only in the second" in text and "--allow-mixed" in text


def test_mixed_protocols_are_marked_when_they_are_asked_for(runs: dict[str, Path]) -> None:
    found = compare_runs(paths(runs, "one", "short"), REGISTRY, allow_mixed=True)
    vqa, text = found.benchmarks
    assert "limit: 60 and none" in vqa.mixed and vqa.num_pairs + vqa.num_unpaired == 120
    for name, make in FORMATS.items():
        assert ("≠" in make(found) or name in ("json", "csv")) and "limit: 60 and none" in make(found)
    assert next(iter(tables(found)[1].rows))[0] == "≠ demo-vqa" and text.mixed


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("benchmark", "split"), "validation", "benchmark.split"),
        (("solver", "use"), "ChainOfThought", "solver.use"),
        (("generation", "max_new_tokens"), 7, "generation.max_new_tokens"),
        (("request",), {"system": "Be brief."}, "request.system"),
        (("samples",), ["question-1"], "samples"),
    ],
)  # fmt: skip
def test_whatever_part_of_the_protocol_differs_is_named(
    runs: dict[str, Path], tmp_path: Path, place: tuple[str, ...], value: Any, told: str
) -> None:
    changed = _copy(runs["one"], tmp_path / "changed")
    record = json.loads((changed / "run.json").read_text())
    step = next(one for one in record["steps"] if one["name"] == "evaluate-base-demo-vqa")
    inner = step["details"]["protocol"]
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    (changed / "run.json").write_text(json.dumps(record))
    with pytest.raises(InfimedError, match=told):
        compare_runs([str(runs["base"]), str(changed)], REGISTRY)


@pytest.mark.parametrize(("place", "value"), [(("judges",), {"gpt": "abc"}), (("generation", "seed"), 9)])
def test_what_does_not_touch_the_scoring_stops_no_comparison(
    runs: dict[str, Path], tmp_path: Path, place: tuple[str, ...], value: Any
) -> None:
    changed = _copy(runs["one"], tmp_path / "changed")
    record = json.loads((changed / "run.json").read_text())
    for step in record["steps"]:
        inner = step["details"].get("protocol")
        for key in place[:-1]:
            inner = inner and inner[key]
        if inner:
            inner[place[-1]] = value
    (changed / "run.json").write_text(json.dumps(record))
    found = compare_runs([str(runs["base"]), str(changed)], REGISTRY)
    assert found.benchmarks and not any(row.mixed for row in found.benchmarks)


def test_a_model_is_compared_with_itself_without_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infimed_core.evaluate.evaluation.MOST_BLIND", 8)  # as a large benchmark is: 8 of 20 questions
    run(document("blind", "Yes", baselines=["image-blind"], limit=20), tmp_path)
    found = compare_runs([str(tmp_path / "runs" / "blind")], REGISTRY)
    assert {"blind:base", "blind:base-image-blind"} <= set(found.models)
    pair = next(row for row in found.benchmarks if "image-blind" in row.model + row.against)
    assert pair.num_pairs == 8 and not pair.mixed


def test_another_version_scoring_or_question_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    changed = _copy(runs["one"], tmp_path / "changed")
    record = json.loads((changed / "run.json").read_text())
    for row in record["results"]:
        row["version"] = "0.9"
    (changed / "run.json").write_text(json.dumps(record))
    with pytest.raises(InfimedError, match=r'version: "0\.9" and'):
        compare_runs([str(runs["base"]), str(changed)], REGISTRY)
    asked = _copy(runs["one"], tmp_path / "asked")
    file = asked / "answers" / "demo-vqa--base.jsonl"
    first, *rest = file.read_text().splitlines()
    row = json.loads(first)
    row["sample"]["references"] = ["another gold answer"]
    file.write_text("\n".join([json.dumps(row), *rest]) + "\n")
    with pytest.raises(InfimedError, match="questions: 1 with another wording, image or accepted answer"):
        compare_runs([str(runs["base"]), str(asked)], REGISTRY)


def _copy(source: Path, target: Path) -> Path:
    (target / "answers").mkdir(parents=True)
    for path in [source / "run.json", *sorted((source / "answers").iterdir())]:
        (target / path.relative_to(source)).write_bytes(path.read_bytes())
    return target


def test_one_run_alone_compares_its_models_and_run_colon_model_picks_one(runs: dict[str, Path]) -> None:
    alone = compare_runs(paths(runs, "all"), REGISTRY)
    assert alone.models[:2] == ("all:base", "all:most-common-answer")
    picked = compare_runs([f"{runs['all']}:most-common-answer", str(runs["base"])], REGISTRY)
    assert picked.models == ("all:most-common-answer", "base:base")
    only = compare_runs(paths(runs, "base", "one", "all"), REGISTRY, against="base:base")
    assert {row.against for row in only.benchmarks} == {"base:base"} and len(only.benchmarks) == 4


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["{all}:medical"], "no model 'medical' in this run; it has base, most-common-answer"),
        (["{all}/nothing", "{base}"], "no such run"),
        (["{base}:base"], "two models at least"),
    ],
)
def test_what_is_not_there_is_one_clear_line(runs: dict[str, Path], names: list[str], told: str) -> None:
    with pytest.raises(InfimedError, match=told):
        compare_runs([name.format(**runs) for name in names], REGISTRY)


def test_the_command_writes_every_format_and_exits_2_on_a_mistake(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from infimed_core.cli import main

    shown = CliRunner().invoke(app, ["compare", *paths(runs, "base", "one")])
    assert shown.exit_code == 0 and "one:base − base:base" in shown.output and "p adjusted" in shown.output
    for suffix, sign in ((".md", "## Models"), (".csv", "table,of,"), (".json", '"format": 1'), (".html", "<svg")):
        out = tmp_path / f"found{suffix}"
        assert CliRunner().invoke(app, ["compare", *paths(runs, "base", "one"), "--out", str(out)]).exit_code == 0
        assert sign in out.read_text()
    monkeypatch.setattr("sys.argv", ["infimed", "compare", *paths(runs, "one", "short")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "limit: 60 and none" in capsys.readouterr().err


def test_all_formats_hold_the_same_figures(runs: dict[str, Path]) -> None:
    found = compare_runs(paths(runs, "base", "one", "all"), REGISTRY)
    body = json.loads(FORMATS["json"](found))
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](found))))
    written = [row for row in rows if row["table"] == "benchmark"]
    assert [float(row["difference"]) for row in written] == [row["difference"] for row in body["benchmarks"]]
    assert [float(row["p_adjusted"]) for row in written] == [row["p_adjusted"] for row in body["benchmarks"]]
    for row in found.benchmarks:
        assert f"{row.difference:+.3f}" in FORMATS["markdown"](found) and f"{row.difference:+.3f}" in FORMATS["html"](
            found
        )


def test_published_rows_stand_beside_marked_as_not_run_here(runs: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    source = {"title": "A <b>paper</b>", "protocol": "test split; judge unknown"}
    body = {
        "sources": {"paper": source},
        "rows": [{"model": "Big|One", "source": "paper", "values": {"demo-vqa": 0.71}}],
    }
    file.write_text(yaml.safe_dump(body))
    found = compare_runs(paths(runs, "base", "one"), REGISTRY, published=chosen_tables([str(file)], REGISTRY))
    assert [(value.model, value.value.value) for value in found.published] == [("Big|One", 0.71)]
    markdown, page = FORMATS["markdown"](found), FORMATS["html"](found)
    assert "Big\\|One | published, not run here" in markdown and "<b>paper" not in page + markdown
    assert "0.710" in page and "published, not run here" in page and "judge unknown" in page
    assert all("Big" not in row.model + row.against for row in found.benchmarks)


def test_the_published_table_names_a_source_for_every_row_and_its_means_add_up() -> None:
    (table,) = chosen_tables(["medevalkit"], REGISTRY)
    assert len(table.rows) >= 25 and {row.source for row in table.rows} <= set(table.sources)
    names = set(REGISTRY.names("benchmark"))
    assert {name for row in table.rows for name in row.values} | {
        n for s in table.suites for n in s.benchmarks
    } <= names
    means = {row.model: np.mean(list(row.values.values())) for row in table.rows if len(row.values) == 7}
    published = {
        "GPT-5": 0.700,
        "Lingshu-7B": 0.618,
        "Lingshu-32B": 0.666,
        "InfiMed-RL-3B": 0.5918,
        "MedGemma-27B-IT": 0.554,
    }
    for model, mean in published.items():
        assert means[model] == pytest.approx(mean, abs=6e-4), model


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("rows: [{model: A, source: x, values: {v: 0.5}}]", "names the source 'x'"),
        ("sources: {x: {title: t, protocol: p}}\nrows: [{model: A, source: x, values: {v: 71}}]", "write 0.5 for 50%"),
        ("rows: [{model: A}]", "not a table of published figures: rows.0.source"),
    ],
)
def test_a_bad_published_table_is_one_clear_line(body: str, told: str) -> None:
    with pytest.raises(InfimedError, match=told):
        read_published(body, "mine.yaml")


def test_a_plugin_of_one_file_ships_no_tables_and_hides_none(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from infimed_core import hookimpl\n")
    registry = load_plugins()
    registry.add_file(tmp_path / "mine.py", always=True)
    assert set(installed_tables(registry)) == set(installed_tables(REGISTRY)) != set()


def test_a_suite_is_compared_when_both_answered_all_of_it(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read_published("suites: [{name: two-set mean, benchmarks: [demo-text, demo-vqa]}]", "x")
    place = "infimed_plugins.reporting.compare.comparison.installed_tables"
    monkeypatch.setattr(place, lambda registry: {"demo": table})
    found = compare_runs(paths(runs, "base", "one"), REGISTRY)
    assert [row.of for row in found.means] == ["two-set mean"]


SEVEN = {
    "mmmu-medical-val": "mmmu", "vqa-rad": "vqa-rad", "slake": "slake", "path-vqa": "path-vqa", "pmc-vqa": "pmc-vqa",
    "omnimedvqa": "omnimedvqa", "medxpertqa-mm": "medxpertqa",
}  # fmt: skip


def test_the_seven_set_mean_is_compared_and_published_rows_stand_beside_it(tmp_path: Path) -> None:
    data = Path(__file__).parents[2] / "fixtures" / "medevalkit" / "data"
    uses = [{"use": name, "with": {"path": str(data / folder)}} for name, folder in SEVEN.items()]
    for name, text in (("says-a", "A"), ("says-b", "B")):
        model = {"use": "constant", "with": {"text": text}}
        run({"run": {"name": name, "seed": 0}, "model": model, "evaluation": {"benchmarks": uses}}, tmp_path)
    runs = {name: tmp_path / "runs" / name for name in ("says-a", "says-b")}
    table = chosen_tables(["medevalkit"], REGISTRY)
    found = compare_runs(paths(runs, "says-a", "says-b"), REGISTRY, published=table)
    mean = next(row for row in found.means if row.of == "seven-set mean")
    parts = {row.of: row.difference for row in found.benchmarks}
    assert set(mean.benchmarks) == set(parts) == set(SEVEN) and found.means == (mean,)
    assert mean.difference == pytest.approx(sum(parts.values()) / 7) and mean.difference < 0
    assert {value.benchmark for value in found.published} <= set(SEVEN)
    assert {"InfiMed-RL-3B", "Lingshu-7B"} <= {value.model for value in found.published}


def test_a_run_and_a_comparison_say_the_same_of_the_same_pairs(runs: dict[str, Path]) -> None:
    told = {(one.benchmark, one.model, one.against): one for one in read_record(runs["one"]).comparisons}
    assert {key[1:] for key in told} == {("base", "most-common-answer")}
    pair = [f"{runs['one']}:most-common-answer", f"{runs['one']}:base"]
    for row in compare_runs(pair, REGISTRY).benchmarks:
        own = told[row.of, "base", "most-common-answer"]
        same = {"difference", "low", "high", "p_value", "num_pairs", "test", "metric", "minimum_detectable"}
        assert row.model_dump(include=same) == own.model_dump(include=same)


def test_the_metric_that_a_run_shows_is_the_one_that_is_compared(tmp_path: Path) -> None:
    for name, text in (("yes", "Yes"), ("no", "No")):
        body = document(name, text)
        refs = [{"use": "balanced-accuracy"}, "accuracy_where_read", {"use": "f1", "with": {"positive": "yes"}}]
        body["evaluation"]["benchmarks"] = [{"use": "demo-vqa", "with": {"max_samples": 120}, "metrics": refs}]
        run(body, tmp_path)
    found = compare_runs([str(tmp_path / "runs" / name) for name in ("yes", "no")], REGISTRY)
    shown = {value.model: value.value.value for value in found.values}
    (row,) = found.benchmarks
    assert row.metric == "balanced-accuracy" and {value.metric for value in found.values} == {row.metric}
    assert (row.value_model, row.value_against) == (shown["no:base"], shown["yes:base"])
    assert row.difference == pytest.approx((shown["no:base"] or 0) - (shown["yes:base"] or 0))
    record = read_record(tmp_path / "runs" / "yes")
    (whole,) = [one for one in record.results if one.model == "base" and not one.group]
    assert list(whole.metrics) == ["balanced-accuracy", "accuracy_where_read", "f1"]
    assert {one.metric for one in record.comparisons} == {"balanced-accuracy"}


def test_a_record_from_before_unread_answers_counted_is_compared_as_it_is_shown(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    before = [_copy(runs[name], tmp_path / name) for name in ("base", "one")]
    for folder in before:
        record = json.loads((folder / "run.json").read_text())
        for step in record["steps"]:
            step["details"].pop("metrics", None)
        (folder / "run.json").write_text(json.dumps(record))
    found = compare_runs([str(folder) for folder in before], REGISTRY)
    (row,) = [row for row in found.benchmarks if row.of == "demo-vqa"]
    both = [
        name
        for name, row in zip(*_strict(before[0]), strict=True)
        if row is not None and dict(zip(*_strict(before[1]), strict=True))[name] is not None
    ]
    assert row.num_pairs == len(both) < row.num_pairs + row.num_unpaired == 120


def _strict(folder: Path) -> tuple[list[str], list[float | None]]:
    lines = [json.loads(line) for line in (folder / "answers" / "demo-vqa--base.jsonl").read_text().splitlines()]
    return [line["sample"]["id"] for line in lines], [line["scores"]["strict"]["value"] for line in lines]


def test_hostile_names_stay_text_in_every_format(runs: dict[str, Path], tmp_path: Path) -> None:
    changed = _copy(runs["one"], tmp_path / "evil")
    record = json.loads((changed / "run.json").read_text())
    record["name"] = "=1+1<script>alert(1)</script>|x[red]"
    (changed / "run.json").write_text(json.dumps(record))
    found = compare_runs([str(runs["base"]), str(changed)], REGISTRY)
    assert "<script>" not in FORMATS["html"](found) + FORMATS["markdown"](found)
    assert all(not row["model"].startswith("=") for row in csv.DictReader(io.StringIO(FORMATS["csv"](found))))
    shown = CliRunner().invoke(app, ["compare", str(runs["base"]), str(changed)])
    assert shown.exit_code == 0 and "[red]" in shown.output.replace("\n", "").replace(" ", "")


@pytest.mark.slow
def test_three_runs_of_the_demo_base_one_stage_all_stages(tmp_path: Path) -> None:
    import torch

    torch.set_num_threads(1)
    for name, stages in THREE.items():
        run(demo(name, stages), tmp_path)
    runs = {name: tmp_path / "runs" / name for name in THREE}
    found = compare_runs(paths(runs, "base", "one", "all"), REGISTRY)
    assert found.models == ("base:base", "one:first", "all:second")
    assert found.benchmarks or found.notes
    assert max(gaps(runs, (*found.benchmarks, *found.cells)), default=0.0) < 1e-9
