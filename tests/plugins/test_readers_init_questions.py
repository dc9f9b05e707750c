"""``infimed init`` on a table of findings: what is asked, which answers there are, what is left out, the run's name."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from infimed_core import Fault, InfimedError, Sample, load_plugins
from infimed_core.cli import application
from infimed_core.testing import make_image
from infimed_plugins.readers.asking import MOST_CHOICES, Wish, named_findings
from infimed_plugins.readers.command import init_command, written
from infimed_plugins.readers.tables import Csv

FIELDS = ("Bild", "Befund", "Patient", "Modalität")
FINDINGS = ("Pleuraerguss rechts", "kein Erguss", "unauffällig")
ASKED = "What does the film show?"


def table(place: Path, fields: tuple[str, ...], rows: list[tuple[str, ...]]) -> Path:
    with open(place, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter=";").writerows([fields, *rows])
    return place


@pytest.fixture
def ward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Films in two folders, and a table that names them without their endings, their findings and the patients."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for number in range(12):
        folder = tmp_path / "ward" / "films" / ("ct", "x-ray")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"F{number:03}.png").write_bytes(make_image(seed=number))
        rows.append((f"F{number:03}", FINDINGS[number % 3], f"00{number // 2}", ("CT", "XR")[number % 2]))
    rows += [("F003", "", "001", "XR"), ("F999", FINDINGS[0], "002", "CT")]
    table(tmp_path / "ward" / "labels.csv", FIELDS, rows)
    return tmp_path / "ward"


def document(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def read(use: dict[str, Any]) -> list[Sample | Fault]:
    reader: Any = load_plugins().make("reader", use["use"], use["with"])
    return [row for shard in reader.shards() for row in reader.read(shard)]


def check(path: str) -> str:
    return " ".join(CliRunner().invoke(application(load_plugins(), "check"), ["check", path]).output.split())


def test_findings_without_a_question_are_told_with_what_asks_one(ward: Path) -> None:
    text, said = written(ward, ward.parent)
    assert "and no question; --question" in said and "and no question; --question" in text
    assert all(turn.text == "" for row in read(document(text)["data"]["sources"][0]) if isinstance(row, Sample)
               for turn in row.turns[:-1])  # fmt: skip
    text, said = written(ward, ward.parent, wish=Wish(question=ASKED))
    assert "no question" not in said
    samples = [row for row in read(document(text)["data"]["sources"][0]) if isinstance(row, Sample)]
    assert {sample.turns[0].text for sample in samples} == {ASKED} and len(samples) == 14
    assert samples[0].tags == {"patient": "000", "modality": "CT"}


def test_a_table_of_findings_is_graded_among_them(ward: Path) -> None:
    wish = Wish(model="tiny", train=True, split_by="patient", question=ASKED, folder=ward.parent)  # the column: Patient
    text, said = written(ward, ward.parent, wish=wish)
    (benchmark,) = document(text)["evaluation"]["benchmarks"]
    assert benchmark["with"]["choices"] == sorted(FINDINGS) and benchmark["with"]["cluster"] == "patient"
    assert "none on both sides" in said
    made: Any = load_plugins().make("benchmark", benchmark["use"], benchmark["with"])
    asked = [row for row in made.samples() if isinstance(row, Sample)]
    assert asked and {row.tags["form"] for row in asked} == {"closed"}
    assert {row.turns[-1].text for row in asked} == {ASKED}


def test_findings_behind_the_first_rows_are_among_them(ward: Path) -> None:
    rows = [(f"F{number % 12:03}", FINDINGS[number // 250], f"{number}", "CT") for number in range(750)]
    table(ward / "labels.csv", FIELDS, rows)
    wish = Wish(model="tiny", train=True, split_by="patient", question=ASKED, folder=ward.parent)
    (benchmark,) = document(written(ward, ward.parent, wish=wish)[0])["evaluation"]["benchmarks"]
    assert benchmark["with"]["choices"] == sorted(FINDINGS)


def test_a_table_is_divided_whatever_is_in_columns_of_one_name(ward: Path) -> None:
    fields = (*FIELDS, "note", "note")
    rows = [(f"F{number:03}", FINDINGS[number % 3], f"{number // 2}", "CT", "a", "b") for number in range(12)]
    table(ward / "labels.csv", fields, rows)
    wish = Wish(model="tiny", train=True, split_by="patient", question=ASKED, folder=ward.parent)
    written(ward, ward.parent, wish=wish)
    made = sorted(ward.parent.glob("*-t*.csv"))
    found = [list(csv.DictReader(place.read_text(encoding="utf-8").splitlines())) for place in made]
    assert len(made) == 2 and sum(map(len, found)) == 12 and set(found[0][0]) == set(FIELDS)


@pytest.mark.parametrize(
    "answers",
    [
        ["yes", "no"] * 6,
        [f"finding {number}" for number in range(MOST_CHOICES + 10)],
        ["The lungs are clear and the heart is of normal size.", "There is an effusion on the left side today."] * 6,
    ],
    ids=["yes and no", "captions", "sentences"],
)
def test_other_answers_are_no_list_of_findings(ward: Path, answers: list[str]) -> None:
    rows = [(f"F{number % 12:03}", answer, f"{number}", "CT") for number, answer in enumerate(answers)]
    table(ward / "labels.csv", FIELDS, rows)
    text, _ = written(ward, ward.parent, ward / "labels.csv", Wish(model="tiny"))
    assert "choices" not in text


def test_rows_that_ask_different_things_have_no_common_findings() -> None:
    def sample(number: int, question: str, answer: str) -> Sample:
        turns = [{"role": "user", "content": [question]}, {"role": "assistant", "content": [answer]}]
        return Sample.model_validate({"id": str(number), "turns": turns})

    same = [sample(n, "Which side?", ("left", "right")[n % 2]) for n in range(6)]
    assert named_findings(same) == ["left", "right"]
    assert named_findings([*same, sample(9, "Which plane?", "left")]) == []


def test_a_rows_own_question_wins(ward: Path) -> None:
    place = table(ward / "q.csv", ("image", "question", "answer"), [("F000", "Which?", "a"), ("F001", "", "b")])
    rows = read({"use": "csv", "with": {"path": str(place), "question": ASKED}})
    assert [row.turns[0].text for row in rows if isinstance(row, Sample)] == ["Which?", ASKED]
    assert Csv(path=str(place)).identity() != Csv(path=str(place), question=ASKED).identity()


def test_a_reader_whose_rows_ask_takes_no_question(ward: Path) -> None:
    (ward / "labels.csv").unlink()
    (ward / "rows.json").write_text(
        '[{"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}]'
    )
    with pytest.raises(InfimedError, match="'llava' bring their own questions"):
        written(ward, ward.parent, wish=Wish(question=ASKED))


def test_rows_without_an_answer_are_left_out_and_counted(ward: Path) -> None:
    table(ward / "q.csv", ("image", "question", "answer"), [("F000", "Which?", "a"), ("F001", "Which?", "")])
    (ward / "labels.csv").unlink()
    text, said = written(ward, ward.parent)
    assert "1 of the 2 rows" in said and "1 of their 1 images are there" in said
    assert "left out: 1 no_answer (" in text and "q.csv:3: the row has no answer)" in text


def test_a_run_is_named_for_the_data_and_the_run_file(ward: Path) -> None:
    for to, name in (("run.yaml", "ward"), ("score.yaml", "ward-score"), ("out/ward.yaml", "ward")):
        Path(to).parent.mkdir(exist_ok=True)
        init_command(Path("ward"), to=Path(to))
        assert document(Path(to).read_text(encoding="utf-8"))["run"]["name"] == name


def test_where_all_folders_were_searched_check_advises_something_else(ward: Path) -> None:
    init_command(Path("ward"))
    told = check("run.yaml")
    assert "F999, and for its name in all folders below); mend the names" in told and "search_below: true" not in told


def films(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(make_image(seed=number))


def test_folders_named_for_findings_are_answers(tmp_path: Path) -> None:
    films(tmp_path, *(f"{name}/{n}.png" for name in ("normal", "pneumonia") for n in range(3)))
    text, said = written(tmp_path, tmp_path.parent, tmp_path, Wish(model="tiny", question=ASKED))
    assert "the answers are the names of the folders (normal, pneumonia)" in said and "--question" not in said
    (benchmark,) = document(text)["evaluation"]["benchmarks"]
    assert benchmark["with"]["choices"] == ["normal", "pneumonia"]
    films(tmp_path, "loose.png")
    rows = read({"use": "directory", "with": {"path": str(tmp_path), "folder_answers": True, "question": ASKED}})
    assert [row.code for row in rows if isinstance(row, Fault)] == ["empty_text"]
    assert {(row.id.split("/")[0], row.turns[-1].text) for row in rows if isinstance(row, Sample)} == {
        ("normal", "normal"), ("pneumonia", "pneumonia")
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["P01/1.png", "P01/2.png", "P02/1.png", "P02/2.png"], "4 images, and no table or text"),
        (["ct/1.png", "ct/2.png", "mr/1.png", "mr/2.png"], "4 images, and no table or text"),
        (["normal/1.png", "normal/2.png", "nodule/1.png"], "3 images, and no table or text"),
        (["train/a/1.png", "test/a/1.png", "train/b/1.png", "test/b/1.png"], "'test' is called a test set"),
        (["films/1.png", "labels.xlsx"], "labels.xlsx is a spreadsheet: save it as CSV"),
    ],
    ids=["patients", "modalities", "a single image", "a test set", "a spreadsheet"],
)
def test_images_that_nothing_names_are_told_with_what_is_missing(tmp_path: Path, names: list[str], told: str) -> None:
    films(tmp_path, *names)
    with pytest.raises(InfimedError, match=told):
        written(tmp_path, tmp_path)


def test_init_says_which_columns_it_took_and_what_it_guessed(ward: Path) -> None:
    said = written(ward, ward.parent)[1]
    assert "read are image 'Bild', answer 'Befund'\n" in said
    rows = [(f"F{n:03}", str(n % 2), "1.0" if n % 3 else "", "-1") for n in range(12)]
    table(ward / "labels.csv", ("image", "label", "Edema", "Effusion"), rows)
    said = written(ward, ward.parent)[1]
    assert "read are image 'image', answer 'label'\n" in said and "the answers are codes (0, 1)" in said
    assert "hold 0 and 1" not in said  # one such column alone
    rows = [(f"F{n:03}", "x", "1.0" if n % 3 else "", str(n % 2)) for n in range(12)]
    table(ward / "labels.csv", ("image", "view name", "Edema", "Effusion"), rows)
    said = written(ward, ward.parent)[1]
    assert "the columns Effusion, Edema hold 0 and 1: to ask about each" in said and "(a guess: no column" in said
