"""Every benchmark reads upstream's shape, asks MedEvalKit's prompts, and loses nothing."""

from __future__ import annotations

import importlib.util
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from infimed_core import (
    MODALITIES,
    TASK_TYPES,
    UNLABELLED,
    Answer,
    ConfigError,
    DataError,
    Fault,
    Sample,
    modality_of,
    task_type_of,
)
from infimed_core.plugins import load_plugins
from infimed_core.runfile.loading import load_run_file
from infimed_core.testing import run
from infimed_plugins.medevalkit import prompts, rubric, sources
from infimed_plugins.medevalkit.benchmark import KitBenchmark
from infimed_plugins.medevalkit.benchmarks import table
from infimed_plugins.medevalkit.cards import cards, find_card
from infimed_plugins.medevalkit.groups import differences, group, lines, members, seven_set_mean
from infimed_plugins.medevalkit.rescore import rescore

DATA = Path(__file__).parents[1] / "fixtures" / "medevalkit" / "data"
EXAMPLE = Path(__file__).parents[2] / "examples" / "medevalkit_fixtures.yaml"
FOLDERS = {
    use["use"]: Path(use["with"]["path"]).name
    for use in yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))["evaluation"]["benchmarks"]
}
NAMES = sorted(table())
SIZES = {
    "cmexam": 2, "cmmlu": 7, "iu-xray": 2, "mimic-cxr": 2, "chexpert-plus": 2, "medxpertqa-mm": 2, "mmlu-medical": 9,
    "mmmu-medical-test": 6, "mmmu-medical-val": 6, "omnimedvqa": 2, "path-vqa": 3, "pmc-vqa": 2, "pmc-vqa-clean": 2,
    "radrestruct": 2, "slake": 4, "vqa-rad": 3,
}  # fmt: skip


def benchmark(name: str, **settings: Any) -> KitBenchmark:
    component = table()[name].model_validate({"path": str(DATA / FOLDERS[name]), **settings})
    assert isinstance(component, KitBenchmark)
    return component


def questions(name: str, **settings: Any) -> list[Sample]:
    found = list(benchmark(name, **settings).samples())
    assert not [row for row in found if isinstance(row, Fault)]
    return [row for row in found if isinstance(row, Sample)]


def test_the_example_names_every_benchmark() -> None:
    assert sorted(FOLDERS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_loader_reads_its_fixture(name: str) -> None:
    found = questions(name)
    assert len(found) == SIZES.get(name, 1)
    assert len({sample.id for sample in found}) == len(found)
    asked = benchmark(name)
    for sample in found:
        assert sample.turns[-1].role == "user"
        indices = [index for turn in sample.turns for index in turn.media_indices]
        assert indices == list(range(len(sample.media))), "every image of a question is asked, once"
        assert sample.references or asked.card.grading == "rubric"
        if sample.options:
            assert set(sample.references[0]) <= set("ABCDEFGHIJ"[: len(sample.options)])
    assert pickle.loads(pickle.dumps(asked)) == asked


@pytest.mark.parametrize("name", [n for n in NAMES if find_card(n).grading not in ("report", "rubric")])
def test_the_reference_is_right_under_strict_and_silence_is_unscored(name: str) -> None:
    asked = benchmark(name)
    for sample in questions(name):
        right = asked.grade(sample, Answer(sample_id=sample.id, text=sample.references[0]), "strict")
        assert right.value == 1.0
        silent = asked.grade(sample, Answer(sample_id=sample.id, text=""), "strict")
        assert silent.value is None and silent.status == "unscored" and silent.reasons == ("empty",)


def test_reports_are_measured_whole_and_in_sections() -> None:
    asked, sample = benchmark("iu-xray"), questions("iu-xray")[0]
    same = asked.grade(sample, Answer(sample_id=sample.id, text=sample.references[0]), "strict")
    assert same.value == pytest.approx(1.0) and same.parts["bleu4"] == pytest.approx(1.0)
    assert same.parts["findings_rougel"] == pytest.approx(1.0)
    half = "Findings: The ellipse is bright. Impression: Nothing."
    part = asked.grade(sample, Answer(sample_id=sample.id, text=half), "strict")
    assert part.parts["findings_rougel"] == pytest.approx(1.0) and part.parts["impression_rougel"] == 0.0
    assert asked.grade(sample, Answer(sample_id=sample.id, text=""), "kit").value == 0.0


def test_prompts_are_the_kits_byte_for_byte() -> None:
    direct = "Answer with the option's letter from the given choices directly."
    assert questions("medqa-usmle")[0].turns[0].text == (
        f"\nQuestion: Which drug?\nOptions: \nA. drug A\nB. drug B\nC. drug C\nD. drug D\n{direct}"
    )
    assert questions("medframeqa")[0].turns[0].content == (
        "<image_1>: ", 0, "<image_2>: ", 1,
        f"\nQuestion: What moves between the frames?\nOptions: \nA.The ellipse\nB.Nothing\n{direct}",
    )  # fmt: skip
    assert questions("pubmedqa")[0].turns[0].text.startswith("Context: It was given.\nIt helped.\n\nQuestion: Does it")
    rad = [sample.turns[0].text for sample in questions("vqa-rad")]
    assert rad[0] == "is there an ellipse?\nPlease output 'yes' or 'no'(no extra output)."
    assert rad[2] == "what shape is shown?\nPlease answer the question concisely."
    slake = [sample.turns[0].text for sample in questions("slake")]
    assert slake[0] == "Is the ellipse bright?\nAnswer the question using a single word or phrase."
    assert slake[3] == "图中是什么？\n请简要回答该问题。"
    assert questions("mmmu-medical-val")[0].turns[0].text == (
        f"\n<image 1> What is drawn?\n\n(A) Ellipse\n(B) A boy's square\n\n        {direct}"
    )
    assert questions("iu-xray")[0].turns[0].text.endswith(prompts.REPORT)
    boxed = questions("medqa-mcmle", reasoning=True)[0].turns[0].text
    assert boxed.endswith('请直接使用给定选项中的选项字母来回答该问题,并将答案包裹在"\\boxed{}"里')
    assert "\n药物A\n药物B\n" in boxed


def test_slake_can_be_asked_in_one_language() -> None:
    assert [sample.tags["language"] for sample in questions("slake", language="zh")] == ["zh", "zh"]


def test_data_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="hf download --repo-type dataset BoKelvin/SLAKE"):
        list(table()["slake"].model_validate({"path": str(tmp_path)}).samples())
    with pytest.raises(DataError, match="PhysioNet"):
        list(table()["mimic-cxr"].model_validate({"path": str(tmp_path / "none")}).samples())
    with pytest.raises(DataError, match="no such folder"):
        list(table()["vqa-rad"].model_validate({"path": str(tmp_path / "none")}).samples())


def test_a_missing_image_is_a_fault_and_the_rest_is_asked(tmp_path: Path) -> None:
    shutil.copytree(DATA / "slake", tmp_path / "slake")
    (tmp_path / "slake/imgs/xmlab1/source.jpg").unlink()
    found = list(table()["slake"].model_validate({"path": str(tmp_path / "slake")}).samples())
    faults = [row for row in found if isinstance(row, Fault)]
    assert len(found) == 4 and [fault.code for fault in faults] == ["missing_file"] * 2
    assert "test.json[2]" in faults[0].where and "unpack" in faults[0].detail


def test_a_changed_file_changes_the_fingerprint(tmp_path: Path) -> None:
    shutil.copytree(DATA / "medqa-usmle", tmp_path / "data")
    asked = table()["medqa-usmle"].model_validate({"path": str(tmp_path / "data")})
    before = asked.fingerprint()
    assert before == asked.fingerprint()
    with next((tmp_path / "data").iterdir()).open("a") as stream:
        stream.write("\n")
    assert asked.fingerprint() != before


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../outside.txt", "x")
    with pytest.raises(DataError, match="outside the folder"):
        sources.unpack(tmp_path / "bad.zip", tmp_path / "inside")


def test_our_own_answers_are_rescored_to_the_same_values(tmp_path: Path) -> None:
    asked, found = benchmark("slake"), questions("slake")
    rows = []
    for sample in found:
        answer = Answer(sample_id=sample.id, text="The answer is yes.")
        rows.append({"sample": sample.model_dump(mode="json"), "answer": answer.model_dump(mode="json"), "scores": {}})
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    again = rescore(path, "slake", samples=True)
    for name in asked.scorings:
        values = [asked.grade(sample, Answer(sample_id="", text="The answer is yes."), name).value for sample in found]
        assert [row["value"] for row in again[name]["samples"]] == values


def test_answers_of_a_run_to_another_benchmark_are_not_rescored(tmp_path: Path) -> None:
    (tmp_path / "answers").mkdir()
    sample = questions("slake")[0]
    answer = Answer(sample_id=sample.id, text="yes")
    row = {"sample": sample.model_dump(mode="json"), "answer": answer.model_dump(mode="json"), "scores": {}}
    uses = [{"use": "medevalkit/slake"}, {"name": "mine", "use": "questions"}, {"use": "vqa-rad"}]
    names = ("slake", "mine", "vqa-rad")
    steps = [
        {"name": name, "kind": "evaluate", "subject": {"benchmark": name, "model": "base"}, "status": "done"}
        for name in names
    ]
    record = {"name": "r", "status": "done", "started": "now", "steps": steps}
    record["config"] = {"evaluation": {"benchmarks": uses}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    for name in names:
        (tmp_path / "answers" / f"{name}--base.jsonl").write_text(json.dumps(row) + "\n")
    assert "kit" in rescore(tmp_path / "answers" / "slake--base.jsonl", "SLAKE")
    for name, use in (("mine", "questions"), ("vqa-rad", "vqa-rad")):
        with pytest.raises(DataError, match=f"holds answers to '{use}', not to SLAKE"):
            rescore(tmp_path / "answers" / f"{name}--base.jsonl", "SLAKE")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{}", "not a list"),
        ("[]", "no sample"),
        ("nonsense", r"results.json:1: neither"),
        ('[{"answer": "A", "choices": ["x"]}]', "sample 0: field 'response' is missing"),
        ('[{"answer": "A", "choices": ["x"], "response": 3}]', "sample 0: 'response' must be text"),
    ],
)
def test_a_bad_results_file_is_named_with_its_sample(tmp_path: Path, body: str, message: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(body)
    with pytest.raises(DataError, match=message):
        rescore(path, "PMC_VQA")


def test_an_unknown_task_suggests_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean 'slake'"):
        find_card("SLAK")


def test_what_stops_the_kit_is_counted_and_not_hidden(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    rows = [{"choices": ["A. x", "B. y"], "answer": "A", "response": text} for text in (None, "A")]
    path.write_text(json.dumps(rows))
    result = rescore(path, "PMC_VQA", samples=True)
    assert result["kit"]["crashes"] == 1 and result["kit"]["metrics"]["total metrics"]["right"] == 1
    assert [row["value"] for row in result["strict"]["samples"]] == [None, 1.0]
    assert result["strict"]["metrics"]["total metrics"]["unscored"] == 1


def test_the_swapped_blocks_of_supergpqa_are_swapped_under_kit_alone(tmp_path: Path) -> None:
    row = {"choices": ["A.x", "B.y"], "answer": "A", "response": "A", "field": "Pharmacology", "difficulty": "hard"}
    (tmp_path / "results.json").write_text(json.dumps([row]))
    result = rescore(tmp_path, "SuperGPQA")
    assert list(result["kit"]["metrics"]["field"]) == ["hard"]
    assert list(result["strict"]["metrics"]["field"]) == ["Pharmacology"]


def test_the_seven_set_mean_is_over_all_seven_or_none() -> None:
    assert len(group("medevalkit-7")) == 7 and "iu-xray" in group("reports") and "cmb" in group("chinese")
    rows = [
        {
            "benchmark": name, "model": "base", "scoring": "strict", "group": {},
            "metrics": {"accuracy": {"value": 1.0 if i == 0 else 0.5, "num_scored": 10 * (i + 1), "num_unscored": 1}},
        }
        for i, name in enumerate(group("medevalkit-7"))
    ]  # fmt: skip
    (mean,) = seven_set_mean(rows)
    assert mean["unweighted"] == pytest.approx((1 + 6 * 0.5) / 7)
    assert mean["question_weighted"] == pytest.approx((10 + 270 * 0.5) / 280)
    (partial,) = seven_set_mean(rows[:-1])
    assert partial["unweighted"] is None and partial["missing"] == [group("medevalkit-7")[-1]]
    assert "none" in lines([partial])[0]


def test_a_rubric_verdict_is_a_boolean_or_nothing() -> None:
    assert rubric.verdict('```json\n{"criteria_met": true}\n```') is True
    assert rubric.verdict('{"criteria_met": "true"}') is None
    assert rubric.verdict("[1]") is None and rubric.verdict("no json") is None and rubric.verdict(None) is None


def test_every_card_is_complete() -> None:
    for card in cards():
        assert card.licence and card.citation and card.measures and card.fields
        assert card.source.hub or card.source.access != "open" or card.source.url


def test_a_group_stands_for_its_benchmarks_in_a_run_file(tmp_path: Path) -> None:
    document = {
        "run": {"name": "seven"},
        "model": {"use": "constant", "with": {"text": "A"}},
        "evaluation": {
            "benchmarks": [
                {"use": "medqa-usmle", "with": {"path": str(DATA / "medqa-usmle")}},
                {"use": "medevalkit-7", "with": {"path": str(DATA), "reasoning": True}},
            ]
        },
    }
    record = run(document, tmp_path)
    assert {row.benchmark for row in record.results} == {"medqa-usmle", *group("medevalkit-7")}
    (mean, *_) = seven_set_mean(row.model_dump(mode="json") for row in record.results)
    assert not mean["missing"] and mean["unweighted"] is not None
    written = record.config["evaluation"]["benchmarks"]  # type: ignore[index, call-overload]
    assert len(written) == 8 and all(use["with"]["reasoning"] for use in written[1:])


def test_the_chinese_group_asks_slakes_chinese_questions() -> None:
    settings = {use["use"]: use["with"] for use in members("chinese", {"path": str(DATA)})}
    assert settings["medevalkit/slake"]["language"] == "zh" and "language" not in settings["medevalkit/cmb"]
    assert {name.removeprefix("medevalkit/") for name in settings} == set(group("chinese"))
    for use in (use for name in ("text", "reports") for use in members(name, {"path": str(DATA)})):
        assert Path(use["with"]["path"]).is_dir()


def test_a_mistake_in_a_group_is_told_at_its_line(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "run: {name: groups}\nmodel: {use: constant, with: {text: A}}\nevaluation:\n  benchmarks:\n"
        "    - {use: chinese, with: {reasonings: true}}\n    - {use: vqa-rad, with: {pat: x}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_run_file(file, load_plugins())
    lines = sorted({line.split(": ")[0].rsplit(":", 1)[1] for line in str(caught.value).splitlines()})
    assert lines == ["5", "6"]


def test_the_document_says_what_the_cards_say() -> None:
    place = EXAMPLE.parents[1] / "docs" / "benchmark_list.py"
    spec = importlib.util.spec_from_file_location("benchmark_list", place)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    for page in made.TARGETS:
        text = (place.parent / page).read_text(encoding="utf-8")
        assert made.fill(page) == text, "run: python docs/benchmark_list.py"


def test_labels_are_in_one_vocabulary() -> None:
    for name in NAMES:
        for sample in questions(name):
            assert sample.tags["modality"] in (*MODALITIES, UNLABELLED)
            assert sample.tags["task_type"] in (*TASK_TYPES, UNLABELLED)
    card = find_card("omnimedvqa")
    assert card.labels == {"modality": "modality_type", "task_type": "question_type"}
    told = (
        "CT(Computed Tomography)",
        "MR (Magnetic Resonance Imaging)",
        "X-Ray",
        "Dermoscopy",
        "Microscopy Images",
        "DX",
    )
    assert [modality_of(label) for label in told] == ["CT", "MR", "X-ray", "dermatology", "pathology", "X-ray"]
    told = ("Disease Diagnosis", "Modality Recognition", "Quantity", "Lesion Grading", "KG", "Treatment", "?")
    assert [task_type_of(label) for label in told] == [
        "diagnosis", "recognition", "quantification", "finding", "knowledge", "treatment", UNLABELLED,
    ]  # fmt: skip
    assert {sample.tags["modality"] for sample in questions("medqa-usmle")} == {"text"}
    assert {sample.tags["modality"] for sample in questions("iu-xray")} == {"X-ray"}


def test_no_label_means_two_things() -> None:
    for table_ in (MODALITIES, TASK_TYPES):
        every = [label for name, labels in table_.items() for label in (name.lower(), *labels)]
        assert len(every) == len(set(every))


def test_a_revision_can_be_pinned() -> None:
    pinned = table()["slake"].model_validate({"revision": "abc"})
    assert pinned.card.source.revision == "abc"  # type: ignore[attr-defined]
    assert pinned.fingerprint() != table()["slake"]().fingerprint()  # type: ignore[attr-defined]


def test_saved_reports_are_measured_again_whole_and_by_section(tmp_path: Path) -> None:
    findings, impression = "The heart is normal.", "No acute disease."
    rows = [
        {"id": 1, "findings": findings, "impression": impression, "response": f"Findings: {findings} Impression: Bad."},
        {"id": 2, "findings": findings, "impression": impression, "response": ""},
    ]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    result = rescore(tmp_path, "IU_XRAY", samples=True)
    strict, kit = result["strict"]["metrics"], result["kit"]["metrics"]
    assert (strict["total"], strict["unscored"], strict["unscored_rate"]) == (2, 1, 0.5)
    assert strict["findings"]["rougel"] == pytest.approx(1.0) and strict["impression"]["rougel"] == 0.0
    assert kit["rougel"] == pytest.approx(strict["report"]["rougel"] / 2), "the kit divides by all reports"
    assert [sample["reason"] for sample in result["strict"]["samples"]] == [None, "empty"]
    with pytest.raises(DataError, match="graded by a judge"):
        rescore(tmp_path, "HealthBench")


def test_a_run_ends_with_both_scorings_and_their_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = {
        "run": {"name": "both"},
        "model": {"use": "constant", "with": {"text": ""}},
        "evaluation": {"benchmarks": [{"use": "pmc-vqa", "with": {"path": str(DATA / "pmc-vqa")}}]},
    }
    run(document, tmp_path)
    assert "pmc-vqa, base, accuracy: strict 0.0000, kit 1.0000, difference -1.0000, 100.0%" in capsys.readouterr().out
    row = {"benchmark": "slake", "model": "base", "group": {}}
    value = {"low": None, "high": None}
    strict = {"accuracy": {"value": 0.75, "num_scored": 8, "num_unscored": 2, **value}}
    kit = {"accuracy": {"value": 0.5, "num_scored": 10, "num_unscored": 0, **value}}
    told = differences([{**row, "scoring": "strict", "metrics": strict}, {**row, "scoring": "kit", "metrics": kit}])
    assert told == ["slake, base, accuracy: strict 0.7500, kit 0.5000, difference +0.2500, 20.0% unscored"]
