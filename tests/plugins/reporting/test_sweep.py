"""Sweeps: variants named by what differs, all checked before one runs, shared work done once, paired intervals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from infimed_core import InfimedError, Media, Score, Turn, parse_changes, parse_value
from infimed_core.api.reporting import MetricValue
from infimed_core.evaluate.graded import read_graded
from infimed_core.evaluate.paired_comparison import mean_difference
from infimed_core.plugins import load_plugins
from infimed_core.records import open_run
from infimed_core.runfile.loading import load_run_file
from infimed_core.store.record import read_record
from infimed_core.testing import make_image, make_sample
from infimed_plugins.reporting.check import lines_about
from infimed_plugins.reporting.compare.comparison import compare_runs
from infimed_plugins.reporting.sweep.command import sweep as sweep_command
from infimed_plugins.reporting.sweep.grid import UNCHANGED, parse_grid
from infimed_plugins.reporting.sweep.page import page
from infimed_plugins.reporting.sweep.results import Line, SweepResult, sweep_result
from infimed_plugins.reporting.sweep.text import as_markdown, table_of
from infimed_plugins.reporting.sweep.variants import _share, plan_sweep, run_sweep

RUN = {
    "run": {"name": "small", "seed": 0, "plugins": ["demo"]},
    "data": {"sources": [{"use": "jsonl", "with": {"path": "samples.jsonl"}}], "filters": []},
    "model": {"use": "tiny-qwen3-vl", "with": {"hidden_size": 32, "layers": 1, "heads": 1, "key_value_heads": 1,
                                               "intermediate_size": 32, "vision_layers": 1, "vision_hidden_size": 32,
                                               "vision_heads": 1, "vision_intermediate_size": 32}},
    "resolution": {"use": "fixed", "with": {"max_visual_tokens": 4}},
    "packing": {"use": "best-fit", "with": {"row_tokens": 256}},
    "training": {"use": "staged", "with": {"stages": [
        {"name": "first", "num_samples": 8, "learning_rate": 1e-3},
        {"name": "second", "num_samples": 8, "learning_rate": 1e-3},
    ]}},
    "evaluation": {"benchmarks": [{"use": "demo-text"}], "limit": 6, "compare_to": ["base"]},
}  # fmt: skip


@pytest.fixture(scope="module")
def registry():
    return load_plugins()


@pytest.fixture
def write(tmp_path):
    lines = [
        {"id": f"s{i}", "turns": [{"role": "user", "content": [f"what is {i}?"]},
                                  {"role": "assistant", "content": [f"it is {i % 3}"]}]}
        for i in range(12)
    ]  # fmt: skip
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def write(**changes) -> Path:
        body = json.loads(json.dumps({**RUN, **changes}))
        body["run"]["directory"] = str(tmp_path / "runs")
        body["data"]["sources"][0]["with"]["path"] = str(tmp_path / "samples.jsonl")
        file = tmp_path / "run.yaml"
        file.write_text(yaml.safe_dump(body))
        return file

    return write


def test_grid_options_are_yaml_values_and_mistakes_are_told():
    grid = parse_grid(["a.b=1,2", "c=[1, 2],null", "d=best-fit,padded"])
    assert grid == {"a.b": (1, 2), "c": ([1, 2], None), "d": ("best-fit", "padded")}
    for option in ("a", "a=", "=3", "a=[1"):
        with pytest.raises(InfimedError, match="--grid"):
            parse_grid([option])
    with pytest.raises(InfimedError, match="given twice"):
        parse_grid(["a=1", "a=2"])


def test_variants_and_grid_and_seeds_make_runs_with_names_that_differ(write, registry, tmp_path):
    file = write(sweep={"variants": {"no-second": {"drop": ["training.with.stages.second"]}}})
    grid = parse_grid(["run.seed=0,1", "packing.with.row_tokens=128,256", "training.with.stages.first.num_samples=4"])
    names = [member.name for member in plan_sweep(file, registry, grid, tmp_path / "out").members]
    assert names == [
        f"{variant}-seed{seed}"
        for variant in (
            UNCHANGED, "no-second", "row_tokens-128_num_samples-4", "row_tokens-256_num_samples-4",
        )
        for seed in (0, 1)
    ]  # fmt: skip
    long = plan_sweep(
        file, registry, {"packing": [{"use": u, "with": {"row_tokens": 200}} for u in ("best-fit", "padded")]}, None
    )
    assert len(set(long.variants)) == 4
    with pytest.raises(InfimedError, match="nothing varies"):
        plan_sweep(write(), registry, {}, None)


def test_every_variant_is_checked_before_one_runs(write, registry, tmp_path):
    with pytest.raises(InfimedError, match=r"variant 'row_tokens--5'.*row_tokens"):
        plan_sweep(write(), registry, parse_grid(["packing.with.row_tokens=256,-5"]), None)
    variants = {"bad": {"drop": ["training.with.stages.third"]}, "worse": {"set": {"packing.with.row_token": 3}}}
    file = write(sweep={"variants": variants})
    with pytest.raises(InfimedError, match=r"(?s)variant 'bad'.*there is no such place.*variant 'worse'.*row_token"):
        plan_sweep(file, registry, {}, None)
    with pytest.raises(InfimedError, match=r"variant 'bad'"):
        lines_about(file, registry, {})
    file = write(sweep={"variants": {"short": {"set": {"packing.with.row_tokens": 64}}}})
    file.write_text(file.read_text().replace("num_samples: 8", "num_samples: -8", 1))
    with pytest.raises(InfimedError, match=r"num_samples"):
        lines_about(file, registry, {})
    lines_about(file, registry, {"training.with.stages.first.num_samples": 8})
    lines_about(write(sweep={"grid": {"run.seed": [0]}}), registry, {})
    assert not (tmp_path / "runs").exists()


def test_a_sweep_that_grades_nothing_is_refused_before_it_trains(write, registry, tmp_path):
    file = write()
    body = yaml.safe_load(file.read_text())
    del body["evaluation"]
    file.write_text(yaml.safe_dump(body))
    with pytest.raises(InfimedError, match=r"a sweep compares graded models.*'evaluation:'"):
        plan_sweep(file, registry, parse_grid(["run.seed=0,1"]), None)
    assert not (tmp_path / "runs").exists()


def test_a_stage_that_is_left_out_is_graded_and_compared_with_no_more(write, registry):
    body = {**RUN["evaluation"], "compare_to": ["base", "second"], "models": ["base", "first", "second"]}
    file = write(evaluation=body, sweep={"variants": {"short": {"drop": ["training.with.stages.second"]}}})
    sweep = plan_sweep(file, registry, {}, None)
    assert sweep.variants == (UNCHANGED, "short")
    short = load_run_file(file, registry, sweep.members[1].changes).file.evaluation
    assert (short.models, short.compare_to) == (("base", "first"), ("base",))


def test_items_of_lists_are_named_by_name_or_position(write, registry):
    change = {"training.with.stages.second.num_samples": 3, "evaluation.benchmarks.demo-text.generation": {"seed": 4}}
    plan = load_run_file(write(), registry, {**change, "training.with.stages.0.num_samples": 5})
    assert [stage.num_samples for stage in plan.component("training").stage_list] == [5, 3]
    assert plan.file.evaluation.benchmarks[0].generation.seed == 4


def test_a_sweep_shares_what_is_equal_goes_on_where_it_stopped_and_compares_with_intervals(write, tmp_path, capsys):
    file = write(sweep={"variants": {"no-second": {"drop": ["training.with.stages.second"]}}})
    grid = ["run.seed=0,1"]
    assert sweep_command(file, grid, None, dry=True)
    assert capsys.readouterr().out.split() == [f"{v}-seed{seed}" for v in (UNCHANGED, "no-second") for seed in (0, 1)]
    assert not (tmp_path / "runs").exists()
    assert sweep_command(file, grid, None, dry=False)
    directory = tmp_path / "runs" / "small-sweep"
    record = read_record(directory / "no-second-seed0")
    status = {step.name: step.status for step in record.steps}
    # nothing of the shorter run is new: the longer one did it all before
    assert {status[name] for name in ("read", "model", "index", "train-first", "evaluate-first-demo-text")} == {
        "reused"
    }
    assert "train-second" not in status
    result = json.loads((directory / "sweep.json").read_text())
    assert "no-second" in (directory / "sweep.html").read_text()
    lines = {line["variant"]: line for line in result["lines"]}
    assert lines[UNCHANGED]["models"] == ["second"] and lines["no-second"]["models"] == ["first"]
    assert lines["no-second"]["seeds"] == [0, 1] and result["missing"] == {}
    capsys.readouterr()
    assert sweep_command(file, grid, None, dry=False)
    assert "no-second" in capsys.readouterr().out
    assert all(step.status == "reused" for step in read_record(directory / "unchanged-seed1").steps)
    assert json.loads((directory / "sweep.json").read_text())["lines"] == result["lines"]
    figures_are_those_of_the_answers(plan_sweep(file, load_plugins(), parse_grid(grid), None))
    costs = {cost["variant"]: cost for cost in result["costs"]}
    assert costs[UNCHANGED]["samples"] == 16 and costs["no-second"]["samples"] == 8


def figures_are_those_of_the_answers(sweep):
    """An untrained model says nothing that can be read: give its answers scores, and count by hand."""
    random = np.random.default_rng(0)
    values = {}
    for member in sweep.members:
        model = "second" if member.variant == UNCHANGED else "first"
        path = sweep.directory / member.name / "answers" / f"demo-text--{model}.jsonl"
        rows = list(read_graded(path))
        own = random.integers(0, 2, len(rows)).astype(float).tolist()
        own[member.seed] = None  # not the same question in both seeds
        values[member.variant, member.seed] = own
        scores = [Score(value=value, status="unscored" if value is None else "ok") for value in own]
        path.unlink()
        path.write_text(
            "".join(replace(r, scores={"strict": s}).as_json() + "\n" for r, s in zip(rows, scores, strict=True))
        )
    lines = {line.variant: line for line in sweep_result(sweep, {}).lines}
    right = {key: [value or 0.0 for value in own] for key, own in values.items()}  # an unread answer is not right
    differences = np.array([np.subtract(right["no-second", seed], right[UNCHANGED, seed]) for seed in (0, 1)])
    value = lines[UNCHANGED].value
    assert value.value == pytest.approx(np.mean([right[UNCHANGED, seed] for seed in (0, 1)]))
    assert value.low <= value.value <= value.high
    assert (value.num_scored, value.num_unscored, value.num_counted) == (10, 2, 12), "answers over both seeds"
    assert lines[UNCHANGED].value.num_unscored == 2 and lines[UNCHANGED].against_reference is None
    assert lines["no-second"].by_seed == pytest.approx({str(s): np.mean(right["no-second", s]) for s in (0, 1)})
    other = lines["no-second"].against_reference
    assert other.difference == pytest.approx(differences.mean())
    units = [row.sample.tags[load_plugins().find("benchmark", "demo-text").cluster_by] for row in rows]
    both = [np.concatenate([right[variant, seed] for seed in (0, 1)]) for variant in ("no-second", UNCHANGED)]
    pooled = mean_difference(*both, units * 2)
    assert (other.low, other.high, other.p_value) == (pooled.low, pooled.high, pooled.p_value)
    assert other.p_adjusted == other.p_value and pooled.num_clusters == len(set(units))
    assert other.num_pairs == 12
    assert list(other.by_seed.values()) == pytest.approx(list(differences.mean(axis=1)))


def test_a_sweep_and_a_comparison_say_the_same_of_the_same_pairs(write, registry, tmp_path):
    file = write(sweep={"variants": {"no-second": {"drop": ["training.with.stages.second"]}}})
    sweep = plan_sweep(file, registry, {}, None)
    assert not run_sweep(sweep, registry, lambda event: None, lambda line: None)
    random = np.random.default_rng(3)
    folders = [sweep.directory / member.name for member in sweep.members]
    for folder, model in zip(folders, ("second", "first"), strict=True):
        path = folder / "answers" / f"demo-text--{model}.jsonl"
        rows = [replace(row, scores={"strict": Score(value=float(random.random() < 0.5))}) for row in read_graded(path)]
        path.unlink()
        path.write_text("".join(row.as_json() + "\n" for row in rows))
    (line,) = [line for line in sweep_result(sweep, {}).lines if line.against_reference is not None]
    (row,) = compare_runs([f"{folders[0]}:second", f"{folders[1]}:first"], registry).benchmarks
    own = line.against_reference
    assert (own.difference, own.low, own.high, own.p_value) == (row.difference, row.low, row.high, row.p_value)


def test_a_score_without_an_interval_is_shown_without_one():
    value = MetricValue(value=37.2, num_scored=5)
    line = Line(benchmark="b", scoring="s", variant="v", models=("m",), seeds=(0,), value=value, by_seed={"0": 37.2})
    result = SweepResult(source="x", reference="v", variants={"v": {}}, lines=(line,), costs=(), missing={})
    assert table_of(result)[1] == [["b", "v", "m", "37.200", ""]] and "37.2" in page(result)


def test_every_run_of_a_sweep_has_the_pictures_that_its_samples_brought(write, registry, tmp_path):
    file = write(training={"use": "staged", "with": {"stages": [{"name": "first", "num_samples": 6}]}})
    turns = (Turn(role="user", content=(0, "Which plane?")), Turn(role="assistant", content=("axial",)))
    samples = [
        make_sample(f"p{number}").model_copy(update={"turns": turns, "media": (Media(data=make_image(seed=number)),)})
        for number in range(6)
    ]
    (tmp_path / "samples.jsonl").write_text("\n".join(sample.model_dump_json() for sample in samples) + "\n")
    sweep = plan_sweep(file, registry, {"run.seed": (0, 1, 2)}, tmp_path / "swept")
    assert run_sweep(sweep, registry, lambda event: None, lambda line: None) == {}
    first, *others = [tmp_path / "swept" / member.name for member in sweep.members]
    shutil.rmtree(first)
    for directory in others:
        run = open_run(directory)
        train = run.step("train", stage="first")
        assert run.step("read").status == "reused" and train.num_in == train.num_out == 6 and not train.dropped
        places = [Path(item.uri) for sample in run.dataset for item in sample.media]
        assert len(places) == 6 and all(place.is_relative_to(directory / "media") for place in places)
        assert [place.read_bytes() for place in places] == [sample.media[0].data for sample in samples]


def test_a_run_that_fails_is_told_and_the_others_are_compared(write, registry, tmp_path):
    nowhere = {"training.with.stages.first.mix": [{"where": {"stage": "nowhere"}}]}
    file = write(sweep={"variants": {"broken": {"set": nowhere}, "short": {"set": {"packing.with.row_tokens": 128}}}})
    sweep, told = plan_sweep(file, registry, {}, tmp_path / "out"), []
    failures = run_sweep(sweep, registry, lambda event: None, told.append)
    assert list(failures) == ["broken-seed0"] and "matches none" in failures["broken-seed0"]
    assert any("broken-seed0 failed" in line for line in told)
    result = sweep_result(sweep, failures)
    assert {line.variant for line in result.lines} == {UNCHANGED, "short"}
    html = page(result.model_copy(update={"source": "<b>.yaml"}))
    assert "&lt;b&gt;.yaml" in html and "<script" not in html and "broken-seed0" in html
    text = as_markdown(result)
    assert "not finished: `broken-seed0`" in text and "| demo-text | short | second |" in text


def test_values_of_a_grid_and_of_set_are_those_that_a_run_file_would_hold(tmp_path, registry):
    texts = ["Yes", "No", "on", "off", "y", "true", "False", "1e-3", "0.5", "012", "null", "~", "'no'", "[Yes, 1]"]
    (tmp_path / "values.yaml").write_text("".join(f"- {text}\n" for text in texts))
    in_file = parse_value((tmp_path / "values.yaml").read_text())
    assert list(parse_grid([f"a.b={','.join(texts)}"])["a.b"]) == in_file
    assert [parse_changes([f"a.b={text}"])["a.b"] for text in texts] == in_file
    assert in_file[:7] == ["Yes", "No", "on", "off", "y", True, False]
    words = {"grid": {"model.with.text": ["Yes", "No"]}}
    body = {"run": {"name": "words", "directory": str(tmp_path)}, "model": {"use": "constant"}, "sweep": words,
            "evaluation": {"benchmarks": [{"use": "demo-text"}]}}  # fmt: skip
    (tmp_path / "words.yaml").write_text(yaml.safe_dump(body).replace("'", ""))
    members = plan_sweep(tmp_path / "words.yaml", registry, {}, None).members
    assert [member.variant for member in members] == ["text-Yes", "text-No"]
    (tmp_path / "switch.yaml").write_text(
        "run: {name: a}\ndata: {sources: [{use: demo-anatomy}], modalities: {dicom: {square_pixels: no}}}\n"
    )
    plan = load_run_file(tmp_path / "switch.yaml", registry)
    assert plan.component("data.modalities.dicom").square_pixels is False, "a switch still takes the words"


def test_a_picture_whose_copy_was_cut_short_is_copied_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "one" / "media" / "ab" / "abcd.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"whole picture")

    def no_link(*_: object) -> None:
        raise OSError("no links here")

    def cut_short(_: Path, target: Path) -> None:
        target.write_bytes(b"whole")
        raise KeyboardInterrupt

    monkeypatch.setattr("os.link", no_link)
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(shutil, "copyfile", cut_short)
        _share(tmp_path / "one", tmp_path / "two")
    _share(tmp_path / "one", tmp_path / "two")
    (copy,) = (tmp_path / "two" / "media" / "ab").iterdir()
    assert (copy.name, copy.read_bytes()) == ("abcd.png", b"whole picture")
