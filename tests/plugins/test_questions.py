"""``questions``: a test set of one's own from any reader, every row asked or told, graded by the strict rules."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from infimed_core import Answer, ConfigError, DataError, Fault, InfimedError, Sample, load_plugins
from infimed_core.records import open_run
from infimed_core.runfile.loading import load_run_file
from infimed_core.testing import make_image, run
from infimed_plugins.medevalkit.benchmarks import table as kit_table
from infimed_plugins.medevalkit.command import lines
from infimed_plugins.medevalkit.questions import ASK_FOR_LETTER, ASK_FOR_LETTERS, Questions, right_letters
from infimed_plugins.medevalkit.rescore import rescore
from infimed_plugins.reporting.summary import summary_text


def row(name, question, answer, **more):
    content = [0, question] if more.get("media") else [question]
    turns = [{"role": "user", "content": content}]
    turns += [{"role": "assistant", "content": [answer]}] if answer is not None else []
    return {"id": name, "turns": turns, **more}


def show(record, directory):
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(summary_text(open_run(directory / "runs" / "own")))
    return console.export_text()


@pytest.fixture
def own(tmp_path):
    (tmp_path / "scan.png").write_bytes(make_image())
    image = [{"uri": "scan.png"}]
    planes = ["axial", "coronal", "sagittal"]
    rows = [
        row("letter", "Which plane?", "B", options=planes, media=image, tags={"modality": "MRI", "patient": "one"}),
        row("text", "Which plane? axial, coronal or sagittal", "Coronal.", options=planes, media=image),
        row("both", "Which plane?", "C. sagittal", options=planes),
        row("word", "Which is it?", "Bad", options=["Good", "Bad", "Fair", "Dad"]),
        row("several", "Which two?", "A, C", options=planes),
        row("either", "Which plane is not coronal?", None, options=planes, references=["A", "C"]),
        row("none of them", "Which plane?", "oblique", options=planes),
        row("closed", "Is there a fracture?", "Yes", media=image),
        row("open", "What is shown?", None, references=["the liver", "hepar"]),
        row("unanswered", "What is shown?", None),
        {"id": "unasked", "turns": [{"role": "assistant", "content": ["a lung"]}]},
        row("open", "What is this?", "a spleen"),
    ]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return Questions.model_validate(
        {"reader": {"use": "jsonl", "with": {"path": str(tmp_path / "test.jsonl")}}, "tags": ["language"]}
    )


def test_every_row_is_a_question_or_a_fault_with_its_place(own, tmp_path):
    found = list(own.samples())
    faults = {one.sample_id: one for one in found if isinstance(one, Fault)}
    questions = [one for one in found if isinstance(one, Sample)]
    assert len(found) == 12
    assert {name: one.code for name, one in faults.items()} == {
        "none of them": "gold_not_among_options", "unanswered": "no_answer", "unasked": "no_question",
        "open": "duplicate_id",
    }  # fmt: skip
    assert faults["unanswered"].where == f"{tmp_path / 'test.jsonl'}:10"
    by_id = {one.id: one for one in reversed(questions)}
    assert faults["open"].where == f"{tmp_path / 'test.jsonl'}:12"
    assert [one.tags["form"] for one in questions] == ["choice"] * 6 + ["closed", "open"]
    assert {name: by_id[name].references[0] for name in ("letter", "text", "both", "word", "several")} == {
        "letter": "B", "text": "B", "both": "C", "word": "B", "several": "AC",
    }  # fmt: skip
    assert all(one.turns[-1].role == "user" for one in questions)
    assert by_id["letter"].tags["modality"] == "MR" and by_id["both"].tags["modality"] == "text"
    assert by_id["letter"].tags["cluster"] == by_id["closed"].tags["cluster"] != by_id["both"].tags["cluster"]
    assert by_id["letter"].turns[-1].text.endswith(f"A. axial\nB. coronal\nC. sagittal\n{ASK_FOR_LETTER}")
    assert "A. axial" not in by_id["text"].turns[-1].text, "its text shows the options already"
    assert by_id["several"].turns[-1].text.endswith(ASK_FOR_LETTERS)
    assert own.group_by == own.model_copy(update={"tags": ("language", "form")}).group_by == ("form", "language")
    by_patient = [*own.model_copy(update={"cluster": "patient"}).samples()]
    assert isinstance(by_patient[0], Sample) and by_patient[0].tags["cluster"] == "one"
    assert isinstance(by_patient[1], Fault) and by_patient[1].code == "no_cluster", "never independent in silence"
    assert "no tag 'patient', which 'cluster' names" in by_patient[1].detail


@pytest.mark.parametrize(
    ("options", "answer", "letters"),
    [
        (["coronary artery disease", "dissection", "embolism", "pneumonia"], "CAD", "gold_not_among_options"),
        (["one", "two", "three", "four"], "AD", "gold_not_among_options"),
        (["one", "two", "three", "four"], "D and A", "AD"),
        (["one", "two", "three", "four"], "(b)", "B"),
        (["B", "A", "AB", "O"], "A", "ambiguous_gold"),
        (["B", "A", "AB", "O"], "B. A", "B"),
        (["A", "B", "C"], "B", "B"),
        (["1", "2", "2"], "2", "ambiguous_gold"),
        (["A. axial", "B. coronal"], "Coronal.", "B"),
        (["1", "2", "3"], "B. 2", "B"),
        (["axial", "coronal"], "A, E", "gold_not_among_options"),
        (["axial", "coronal"], "A. axial, B. coronal", "gold_not_among_options"),
        (["axial", "coronal"], "A. axial and coronal", "gold_not_among_options"),
        ([f"x{number}" for number in range(40)], "x30", "too_many_options"),
    ],
)
def test_the_right_letters_are_read_and_never_guessed(options, answer, letters):
    if letters.isupper():
        assert right_letters(answer, options) == letters
    else:
        with pytest.raises(DataError) as caught:
            right_letters(answer, options)
        assert caught.value.code == letters


@pytest.mark.parametrize(
    ("question", "options", "shown"),
    [
        ("Do the eyes show a nodule?", ["Yes", "No"], True),
        ("Is it so? Answer yes or no.", ["Yes", "No"], False),
        ("How many nodules has the patient, aged 12-34?", ["1", "2", "3", "4"], True),
        ("Which panel shows abnormal dense consolidation?", ["A", "B", "C", "D"], True),
        ("Is it axial or coronal?", ["A. axial", "B. coronal"], False),
        ("Which plane?", ["A. axial", "B. coronal"], True),
        ("肺炎还是正常？", ["肺炎", "正常"], False),
    ],
)
def test_options_are_shown_once(tmp_path, question, options, shown):
    (tmp_path / "one.jsonl").write_text(json.dumps(row("1", question, "a", options=options)) + "\n")
    reader = {"use": "jsonl", "with": {"path": str(tmp_path / "one.jsonl")}}
    (asked,) = Questions.model_validate({"reader": reader}).samples()
    assert isinstance(asked, Sample)
    lines = asked.turns[-1].text.splitlines()
    bare = [option.removeprefix("A. ").removeprefix("B. ") for option in options]
    labelled = [f"{letter}. {text}" for letter, text in zip("ABCD", bare, strict=False)]
    assert lines == [question, *([*labelled, ASK_FOR_LETTER] if shown else [])]


@pytest.mark.parametrize(
    ("name", "text", "value", "reason"),
    [
        ("letter", "The answer is B.", 1.0, ""),
        ("letter", "sagittal", 0.0, ""),
        ("letter", "It may be A or B.", None, "several_answers"),
        ("word", "bad", 1.0, ""),
        ("several", "A and C", 1.0, ""),
        ("several", "A", 0.0, ""),
        ("either", "C", 1.0, ""),
        ("either", "coronal", 0.0, ""),
        ("closed", "yes, it is", 1.0, ""),
        ("closed", "No.", 0.0, ""),
        ("closed", "liver", None, "unreadable"),
        ("open", "Liver", 1.0, ""),
        ("open", "Hepar.", 1.0, ""),
        ("open", "the left liver", 1.0, ""),
        ("open", "the spleen", 0.0, ""),
        ("open", None, None, "no_response"),
    ],
)
def test_answers_are_graded_by_the_form_of_the_question(own, name, text, value, reason):
    samples = {one.id: one for one in reversed(list(own.samples())) if isinstance(one, Sample)}
    error = "refused" if text is None else None
    score = own.grade(samples[name], Answer(sample_id=name, text=text, error=error), "strict")
    assert (score.value, score.reasons) == (value, (reason,) if reason else ())
    assert score.status == ("ok" if value is not None else "unscored")
    if text == "the left liver":
        assert 0 < (score.parts["f1"] or 0) < 1


def test_open_answers_go_before_a_judge_and_others_do_not(own):
    samples = [one for one in own.samples() if isinstance(one, Sample)]
    answers = [Answer(sample_id=one.id, text="yes") for one in samples]
    asked = []

    def ask(requests, model=None):
        asked.extend(request.sample_id for request in requests)
        reply = json.dumps({"reason": "so it is", "correct": True})
        return [Answer(sample_id=request.sample_id, text=reply) for request in requests]

    judged = own.judge(samples, answers, ask)
    assert len(asked) == 1 and [score.value for score in judged][-2:] == [1.0, 1.0]
    assert judged[0].value is None, "no letter: as the rule says"
    assert own.judge(samples[:6], answers[:6], ask) is None


def test_a_run_asks_grades_and_counts_them(own, tmp_path):
    settings = own.model_dump(by_alias=True)
    document = {
        "run": {"name": "own", "directory": str(tmp_path / "runs")},
        "model": {"use": "constant", "with": {"text": "B"}},
        "evaluation": {"benchmarks": [{"name": "mine", "use": "questions", "with": settings}]},
        "report": [{"use": "html"}],
    }  # fmt: skip
    record = run(document, tmp_path)
    step = next(step for step in record.steps if step.name == "evaluate-base-mine")
    assert (step.num_in, step.num_out) == (12, 8)
    assert step.dropped == {"gold_not_among_options": 1, "no_answer": 1, "no_question": 1, "duplicate_id": 1}
    kept = (tmp_path / "runs" / "own" / step.artifact / "faults.jsonl").read_text().splitlines()
    assert [json.loads(line)["where"] for line in kept][1:] == [f"{tmp_path / 'test.jsonl'}:{n}" for n in (10, 11, 12)]
    shown = show(record, tmp_path)
    left_out = "4 of 12 rows are no questions: 1 duplicate_id, 1 gold_not_among_options, 1 no_answer, 1 no_question"
    assert left_out in shown
    assert left_out in (tmp_path / "runs" / "own" / "report.html").read_text()
    (whole,) = (one for one in record.results if one.model == "base" and not one.group)
    assert whole.benchmark == "mine"
    assert (whole.metrics["accuracy"].num_scored, whole.metrics["accuracy"].num_unscored) == (7, 1)
    assert whole.metrics["accuracy"].value == pytest.approx(3 / 8), "what cannot be read is not right"
    assert whole.metrics["accuracy_where_read"].value == pytest.approx(3 / 7)
    assert whole.metrics["coverage"].value == pytest.approx(7 / 8)
    overlap = whole.metrics["rouge-l"]
    assert (overlap.num_scored, overlap.num_unscored, overlap.value) == (1, 0, 0.0), "of open answers alone"
    assert overlap.low == 0.0 and overlap.high > 0.5, "one answer says little"


def test_mistakes_in_its_reader_are_told_by_line_before_anything_starts(tmp_path):
    text = """\
run: {name: own}
model: {use: constant}
evaluation:
  benchmarks:
    - {use: questions, with: {reader: {use: jsonl, with: {path: no/such.jsonl}}}}
    - {name: b, use: questions, with: {reader: {use: jsonll}}}
    - {name: c, use: questions, with: {reader: {use: llava, with: {pth: x}}}}
"""
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_run_file(tmp_path / "run.yaml", load_plugins())
    told = [line.removeprefix(f"{tmp_path / 'run.yaml'}:") for line in caught.value.problems]
    assert told[0].startswith("5: evaluation.benchmarks.0.with.reader.with.path: no/such.jsonl: no such file")
    assert "6: evaluation.benchmarks.1.with.reader.use: no reader is named 'jsonll'; did you mean 'jsonl'?" in told[1]
    assert {line.split(": ")[1] for line in told[2:]} == {
        "evaluation.benchmarks.2.with.reader.with.path",
        "evaluation.benchmarks.2.with.reader.with.pth",
    }


def test_a_llava_test_set_is_read_as_it_is(tmp_path):
    (tmp_path / "scan.png").write_bytes(make_image())
    turns = [{"from": "human", "value": "<image>\nWhich organ?"}, {"from": "gpt", "value": "Liver"}]
    (tmp_path / "test.json").write_text(json.dumps([{"id": "1", "image": "scan.png", "conversations": turns}]))
    own = Questions.model_validate(
        {"reader": {"use": "llava", "with": {"path": str(tmp_path / "test.json")}}, "instruction": "Answer in a word."}
    )
    (question,) = own.samples()
    assert isinstance(question, Sample) and question.references == ("Liver",)
    assert question.turns[-1].media_indices == (0,) and question.turns[-1].text.endswith("?\nAnswer in a word.")
    before = own.fingerprint()
    (tmp_path / "test.json").write_text("[]")
    assert own.fingerprint() != before, "another file, other questions"


def test_an_image_that_is_replaced_is_seen(own, tmp_path):
    before = own.fingerprint()
    (tmp_path / "scan.png").write_bytes(make_image() + b"more")
    assert own.fingerprint() != before


def test_a_benchmark_without_a_question_is_told(tmp_path):
    (tmp_path / "empty.jsonl").write_text(json.dumps(row("a", "What?", None)) + "\n")
    use = {"use": "questions", "with": {"reader": {"use": "jsonl", "with": {"path": str(tmp_path / "empty.jsonl")}}}}
    document = {"run": {"name": "own"}, "model": {"use": "constant"}, "evaluation": {"benchmarks": [use]}}
    with pytest.raises(InfimedError, match="'questions' has no question: there is no accepted answer"):
        run(document, tmp_path)


def test_pubmedqa_as_its_authors_hold_it(tmp_path):
    """``ori_pqal.json`` holds 1,000 questions, ``test_ground_truth.json`` names those of the test set."""
    questions = {
        key: {"QUESTION": f"Does {key} help?", "CONTEXTS": ["First.", "Second."], "final_decision": decision}
        for key, decision in (("11", "yes"), ("12", "maybe"), ("13", "no"), ("14", "no"))
    }
    (tmp_path / "ori_pqal.json").write_text(json.dumps(questions))
    (tmp_path / "test_ground_truth.json").write_text(json.dumps({"12": "maybe", "13": "yes", "15": "no"}))
    benchmark = kit_table()["pubmedqa"](path=str(tmp_path))
    rows = list(benchmark.samples())
    (question,) = [row for row in rows if isinstance(row, Sample)]
    assert question.id == "pubmedqa-12" and question.references[0] == "C" and question.options == ("yes", "no", "maybe")
    assert "Context: First.\nSecond.\n" in question.turns[0].text
    assert [row.code for row in rows if isinstance(row, Fault)] == ["bad_answer", "missing_row"]
    assert benchmark.doubts() == ()
    (tmp_path / "test_ground_truth.json").unlink()
    assert len(list(benchmark.samples())) == 4, "without a list all of them"
    (tmp_path / "ori_pqal.json").write_text("[]")
    assert "must be an object" in benchmark.doubts()[0], "check opens what it can"


def test_answers_to_questions_are_graded_again(tmp_path):
    rows = [
        row("one", "Is it?", "yes"),
        row("two", "Is it not?", "no"),
        row("three", "Which?", "B", options=["x", "y"]),
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    reader = {"use": "jsonl", "with": {"path": str(tmp_path / "q.jsonl")}}
    document = {
        "run": {"name": "own"},
        "model": {"use": "constant", "with": {"text": "Yes."}},
        "evaluation": {"benchmarks": [{"use": "questions", "with": {"reader": reader}}]},
    }
    run(document, tmp_path)
    path = tmp_path / "runs" / "own" / "answers" / "questions--base.jsonl"
    result = rescore(path, "questions", samples=True)
    assert result["strict"]["metrics"]["accuracy"] == pytest.approx(1 / 3) and result["changed"] == []
    assert [one["value"] for one in result["strict"]["samples"]] == [1.0, 0.0, None]
    text = path.read_text().replace('"value": 0.0', '"value": 1.0')
    path.unlink()
    path.write_text(text)
    assert rescore(path, "questions")["changed"] == ["two"], "graded by the rules of today"
    assert any("accuracy" in line for line in lines(rescore(path, "questions")))


@pytest.mark.parametrize(
    ("judged", "put"), [("open", ["four"]), ("undecided", ["four"]), ("unread", ["one", "three", "four"])]
)
def test_a_judge_may_read_choices_and_closed_answers_that_no_rule_could(tmp_path, judged, put):
    rows = [row("one", "Which?", "B", options=["liver", "spleen"]), row("two", "Which?", "A", options=["x", "y"])]
    rows += [row("three", "Is it large?", "yes"), row("four", "Where is it?", "left lung"), row("five", "Is it?", "no")]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    reader = {"use": "jsonl", "with": {"path": str(tmp_path / "q.jsonl")}}
    benchmark = Questions.model_validate({"reader": reader, "judged": judged})
    samples = list(benchmark.samples())
    said = ["It is the organ that filters blood", "A", "Bigger than it should be", "a lung", "I cannot tell."]
    answers = [Answer(sample_id=one.id, text=text) for one, text in zip(samples, said, strict=True)]
    asked = []

    def ask(requests, model=None):
        asked.extend(requests)
        return [Answer(sample_id=one.sample_id, text='{"reason": "r", "correct": true}') for one in requests]

    scores = benchmark.judge(samples, answers, ask)
    assert [one.sample_id for one in asked] == put
    values = {one.id: score.value for one, score in zip(samples, scores, strict=True)}
    assert values == {"one": None, "two": 1.0, "three": None, "four": None, "five": None} | dict.fromkeys(put, 1.0)
    if judged == "unread":
        told = asked[0].turns[0].text
        assert "Which?\nA. liver\nB. spleen" in told and "Reference answer: B. spleen" in told
        assert "read by rule" in benchmark.judging
