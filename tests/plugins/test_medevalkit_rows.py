"""A benchmark's row that breaks is one fault; a letter or an image never moves up into the place of a missing one."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from infimed_core import DataError, Fault, Media, Sample
from infimed_plugins.medevalkit.benchmarks import table
from infimed_plugins.medevalkit.cards import find_card
from infimed_plugins.medevalkit.folders import Images, read_table
from infimed_plugins.medevalkit.layouts import LAYOUTS
from infimed_plugins.medevalkit.questions import Questions

DATA = Path(__file__).parents[1] / "fixtures" / "medevalkit" / "data"
EXAMPLE = Path(__file__).parents[2] / "examples" / "medevalkit_fixtures.yaml"
FOLDERS = {
    use["use"]: Path(use["with"]["path"]).name
    for use in yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))["evaluation"]["benchmarks"]
}
NO_ROWS: list[Any] = [5, None, "text", [], {}, {"question": {}}, {"options": "x", "question": 1, "image": "x" * 300}]


def poison(file: Path) -> int:
    """Put rows into a table that are none; how many."""
    if file.suffix == ".jsonl":
        deep = "[" * 200_000 + "]" * 200_000
        lines = [*map(json.dumps, NO_ROWS), "{broken", deep, '"a\u2028b"']
        with file.open("ab") as stream:
            stream.write("\n".join(["", *lines, ""]).encode() + b'{"question": "\xe9"}\n')
        return len(lines) + 1
    if file.suffix == ".csv":
        with file.open("a", encoding="utf-8", newline="") as stream:
            stream.write(f"too,few\n{'too,many,' * 30}\n")
        return 2
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:  # Parquet, or lines
        return 0
    if not isinstance(body, list):
        return 0
    file.write_text(json.dumps([*body, *NO_ROWS]), encoding="utf-8")
    return len(NO_ROWS)


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_rows_that_are_none_are_faults_with_their_place_and_cost_no_question(tmp_path: Path, name: str) -> None:
    shutil.copytree(DATA / FOLDERS[name], tmp_path / "data")
    made = table()[name].model_validate({"path": str(tmp_path / "data")})
    good = [row.turns for row in made.samples() if isinstance(row, Sample)]
    card = find_card(name)
    if card.layout == "radrestruct":
        report = next(iter(sorted((tmp_path / "data").glob(card.source.files[0]))))
        report.with_name("broken.json").write_text("{")
        num_bad = 1
    else:
        tables = {
            Path(where.rpartition(":")[0] or where.rpartition("[")[0])
            for where in (row[0].rpartition("[")[0] + ":" if row[0].endswith("]") else row[0] for row in _places(made))
        }
        num_bad = sum(poison(file) for file in tables if file.is_file())
    found = list(made.samples())
    faults = [row for row in found if isinstance(row, Fault)]
    assert [row.turns for row in found if isinstance(row, Sample)] == good
    assert len(faults) <= num_bad and all(fault.where for fault in faults)
    assert len(faults) > 0 or num_bad == 0 or card.layout in ("supergpqa", "reports", "key-value"), (
        num_bad,
        len(found),
    )


def _places(made: Any) -> list[tuple[str, Any]]:
    from infimed_plugins.medevalkit import sources

    return list(sources.rows(made.card, made.path))


def test_a_comma_without_quotes_is_a_fault_and_never_another_reference(tmp_path: Path) -> None:
    names = ["Figure_path", "Question", "Choice A", "Choice B", "Choice C", "Choice D", "Answer", ""]
    good = ["x.jpg", "Which?", " A:one", " B:two", " C:three", " D:four", "B", ""]
    with (tmp_path / "t.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([names, good])
        stream.write("x.jpg,Which, please?, A:one, B:two, C:three, D:four,B\n")
        stream.write("x.jpg,Which?, A:one, B:two, C:three, D:four,B,,,\n")
    rows = [row for _, row in read_table(tmp_path / "t.csv")]
    assert rows[0] == rows[2] and rows[0]["Answer"] == "B" and isinstance(rows[1], DataError)


def images(folder: Path) -> Images:
    for name in "abc":
        (folder / f"{name}.png").write_bytes(name.encode())
    return Images(folder)


def asked(layout: str, card: str, row: dict[str, Any], folder: Path) -> Any:
    return LAYOUTS[layout](find_card(card), row, images(folder))


@pytest.mark.parametrize("gone", [None, float("nan"), "", {"bytes": None, "path": None}])
def test_an_image_that_is_missing_moves_no_other_up(tmp_path: Path, gone: Any) -> None:
    row = {
        "question": "Q",
        "options": ["x", "y"],
        "correct_answer": "A",
        "image_1": "a.png",
        "image_2": gone,
        "image_3": "c.png",
    }
    with pytest.raises(DataError) as caught:
        asked("medframeqa", "medframeqa", row, tmp_path)
    assert caught.value.code == "missing_image"
    found = asked("medframeqa", "medframeqa", {**row, "image_2": "b.png", "image_3": gone, "image_4": gone}, tmp_path)
    assert [Path(medium.uri).name for medium in found.images if isinstance(medium, Media)] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({"A": "x", "B": "y", "C": None}, ("x", "y")), ({"A": "x", "B": None, "C": "z"}, None),
        ({"A": "x", "C": "z"}, None),
        (["x", None, "z"], None), (["x", float("nan")], ("x",)), ({str(n): f"o{n}" for n in range(1, 11)}, "natural"),
        ([{"key": "A", "value": "x"}, {"key": "B", "value": ""}, {"key": "C", "value": "z"}], None),
        (["H. pylori", "C. difficile", "B. cereus"], ("H. pylori", "C. difficile", "B. cereus")),
    ],
)  # fmt: skip
def test_an_option_that_is_missing_moves_no_letter_up(tmp_path: Path, options: Any, texts: Any) -> None:
    row = {"question": "Q", "options": options, "answer_idx": "A"}
    if texts is None:
        with pytest.raises(DataError) as caught:
            asked("options-map", "medqa-usmle", row, tmp_path)
        assert caught.value.code == "empty_option"
    else:
        wanted = tuple(f"o{n}" for n in range(1, 11)) if texts == "natural" else texts
        assert asked("options-map", "medqa-usmle", row, tmp_path).options == wanted
    gap = {"question": "Q", "option_A": "x", "option_B": "", "option_C": "z", "gt_answer": "z", "image_path": "a.png"}
    with pytest.raises(DataError):
        asked("omnimedvqa", "omnimedvqa", gap, tmp_path)


def test_a_question_of_ones_own_keeps_the_names_in_its_options(tmp_path: Path) -> None:
    germs = ["H. pylori", "C. difficile", "B. cereus", "E. coli"]
    rows = []
    for number, answer in enumerate([*germs, "C", "D. E. coli"]):
        turns = [{"role": "user", "content": ["Which?"]}, {"role": "assistant", "content": [answer]}]
        rows.append({"id": str(number), "turns": turns, "options": germs})
    rows.append({**rows[0], "id": "gap", "options": ["x", "", "z"]})
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    own = Questions.model_validate({"reader": {"use": "jsonl", "with": {"path": str(tmp_path / "t.jsonl")}}})
    *found, gap = own.samples()
    assert [row.references for row in found if isinstance(row, Sample)] == [
        ("A", germs[0]), ("B", germs[1]), ("C", germs[2]), ("D", germs[3]), ("C", germs[2]), ("D", germs[3]),
    ]  # fmt: skip
    assert isinstance(gap, Fault) and gap.code == "empty_option" and gap.where.endswith(":7")


def test_a_tag_that_no_question_has_is_told_by_check(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": ["Which?"]}, {"role": "assistant", "content": ["A"]}]
    (tmp_path / "t.jsonl").write_text(json.dumps({"turns": turns, "tags": {"organ": "lung"}}))
    reader = {"use": "jsonl", "with": {"path": str(tmp_path / "t.jsonl")}}
    own = Questions.model_validate({"reader": reader, "tags": ["organ", "orgam"]})
    assert own.doubts() == ("no question of the first 1 has the tag 'orgam', which 'tags' names",)
    (tmp_path / "t.jsonl").write_text(json.dumps({"turns": turns[1:]}))
    assert (
        "NO QUESTION in the first 1 rows; there is no user turn"
        in Questions.model_validate({"reader": reader}).doubts()[0]
    )
