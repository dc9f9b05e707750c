"""A letter or a number is never learned without what it stands for: options are read, or named in a fault."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from infimed_core import Fault, Sample
from infimed_plugins.readers.columns import Columns
from infimed_plugins.readers.llava import Llava
from infimed_plugins.readers.parquet import Parquet
from infimed_plugins.readers.tables import Csv
from infimed_plugins.readers.webdataset import WebDataset


def read(reader: Any) -> list[Sample | Fault]:
    return [row for shard in reader.shards() for row in reader.read(shard)]


def answers(rows: list[Sample | Fault]) -> list[str]:
    return [row.turns[-1].text if isinstance(row, Sample) else row.code for row in rows]


PLANES: dict[str, Any] = {
    "options": ["axial", "coronal"],
    "choices": {"A": "axial", "B": "coronal"},
    "Choices": '["axial", "coronal"]',
}


@pytest.mark.parametrize("row", [
    {"choices": PLANES["choices"], "answer": "B"}, {"Choices": PLANES["Choices"], "answer": "(b)"},
    {"A": "axial", "B": "coronal", "C": None, "answer": "B"},
    {"opa": "axial", "opb": "", "opc": "sagittal", "answer": "C"},
    {"option_1": "axial", "option_2": "coronal", "answer": "A"}, {"choices": PLANES["options"], "answer": 1},
    {"choices": PLANES["options"], "answer": "A, B"},
])  # fmt: skip
@pytest.mark.parametrize("reader", ["llava", "csv", "parquet"])
def test_a_letter_whose_options_nothing_reads_is_a_fault_that_names_them(
    tmp_path: Path, reader: str, row: dict[str, Any]
) -> None:
    import pandas

    row = {"question": "Which plane?", **row}
    other = {**row, "question": "Which plane, axial, coronal or sagittal?"}  # the question says what they are
    text = {**row, "answer": "A coronal plane."}
    rows, file = [row, other, text], tmp_path / f"t.{'json' if reader == 'llava' else reader}"
    if reader == "llava":
        file.write_text(json.dumps(rows))
    elif reader == "csv":
        flat = [{name: json.dumps(v) if isinstance(v, (list, dict)) else v for name, v in one.items()} for one in rows]
        pandas.DataFrame(flat).to_csv(file, index=False)
    else:
        pandas.DataFrame([{**one, "answer": str(one["answer"])} for one in rows]).to_parquet(file)
    kind: Any = {"llava": Llava, "csv": Csv, "parquet": Parquet}[reader]
    fault, *samples = read(kind(path=str(file)))
    assert isinstance(fault, Fault) and fault.code == "unsupported_field", fault
    names = [name for name in row if name not in ("question", "answer")]
    assert all(name in fault.detail for name in names if row[name]) and "ignore" in fault.detail
    assert answers(samples) == [str(row["answer"]), "A coronal plane."]
    kept = read(kind(path=str(file), ignore=tuple(names)))
    assert answers(kept)[0] == str(row["answer"])
    if reader == "parquet" and "choices" in row and isinstance(row["answer"], str):
        first = read(kind(path=str(file), columns=Columns(options="choices")))[0]
        assert isinstance(first, Sample) and "coronal" in first.turns[-1].text


def test_a_number_that_is_no_option_is_never_learned(tmp_path: Path) -> None:
    rows = [("0", ["axial", "coronal"]), ("2", ["1", "2", "3"]), ("Two.", ["Two.", "Three."]), ("2019", ["a", "b"])]
    made = [{"question": "Q", "options": options, "answer": answer} for answer, options in rows]
    (tmp_path / "t.json").write_text(json.dumps(made))
    fault, *samples = read(Llava(path=str(tmp_path / "t.json")))
    assert isinstance(fault, Fault) and fault.code == "bad_row" and "is a number and no option" in fault.detail
    assert answers(samples) == ["2", "Two.", "2019"]


def test_the_facts_of_a_shard_are_held_to_the_same(tmp_path: Path) -> None:
    facts = {"question": "Which plane?", "choices": PLANES["options"], "answer": "B"}
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for key, row in (("a", facts), ("b", {**facts, "options": PLANES["options"]})):
            content = json.dumps(row).encode()
            member = tarfile.TarInfo(f"{key}.json")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    assert answers(read(WebDataset(path=str(tmp_path / "t.tar"), text_only=True))) == [
        "unsupported_field",
        "B. coronal",
    ]


@pytest.mark.parametrize(
    ("answer", "options", "learned"),
    [
        ("CT", ("CT", "MRI", "US"), "CT"), ("CT", ("CT scan", "MRI scan"), "CT"), ("CT or MR", ("X", "Y"), "CT or MR"),
        ("BC", ("one", "two", "three"), "B. two; C. three"), ("A and C", ("one", "two", "three"), "A. one; C. three"),
    ],
)  # fmt: skip
def test_a_word_in_capitals_is_learned_and_letters_in_a_row_are_letters(answer, options, learned) -> None:
    from infimed_core import Sample, Turn
    from infimed_plugins.readers.options import refuse_unread, with_options

    turns = (Turn(role="user", content=("Which?",)), Turn(role="assistant", content=(answer,)))
    asked = Sample(id="s", turns=turns, options=options)
    assert with_options(asked).turns[-1].text == learned
    if learned == answer:
        refuse_unread({"choices": list(options)}, asked.model_copy(update={"options": ()}), "read them")
