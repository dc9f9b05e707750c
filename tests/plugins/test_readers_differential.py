"""What readers give is what an independent reader of the same file gives: pandas, pyarrow, json, datasets."""

from __future__ import annotations

import csv
import datetime
import io
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infimed_core import Fault, Sample
from infimed_plugins.readers.huggingface import HuggingFace
from infimed_plugins.readers.llava import Llava, json_rows
from infimed_plugins.readers.parquet import Parquet, parquet_rows
from infimed_plugins.readers.tables import Csv, table_rows

QUICK = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
letters = st.characters(codec="utf-8", exclude_characters="\x00\ufeff\r")
cells = st.text(letters | st.sampled_from(',;\t|"\n '), max_size=10)
tables = st.integers(2, 5).flatmap(lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), max_size=6))


@given(
    tables,
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
@QUICK
def test_cells_of_a_table_are_those_that_pandas_reads(
    rows: list[list[str]], delimiter: str, end: str, quoting: Any
) -> None:
    import pandas

    rows = [row for row in rows if any(row)]
    names = [f"c{number}" for number in range(len(rows[0]) if rows else 2)]
    held = io.StringIO(newline="")
    writer = csv.writer(held, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([names, *rows])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "t.csv"
        file.write_bytes(held.getvalue().encode())
        found = [row for _, row in table_rows(file)]
        read = pandas.read_csv(
            file, sep=delimiter, dtype=str, keep_default_na=False, na_filter=False, skip_blank_lines=False
        )
    theirs = [{name: cell or None for name, cell in row.items()} for row in read.to_dict("records")]
    assert found == theirs == [dict(zip(names, (cell or None for cell in row), strict=True)) for row in rows]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | cells,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(letters, max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.lists(st.dictionaries(st.text(letters, max_size=5), values, max_size=4), max_size=6),
    st.sampled_from([None, 1, "\t"]),
)
@QUICK
def test_entries_of_an_array_and_lines_are_those_that_json_reads(rows: list[dict[str, Any]], indent: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "t.json").write_text(json.dumps(rows, indent=indent, ensure_ascii=False), encoding="utf-8")
        assert [row for _, row in json_rows(Path(folder) / "t.json")] == rows
        lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        (Path(folder) / "t.jsonl").write_text(lines, encoding="utf-8", newline="\n")
        assert [row for _, row in json_rows(Path(folder) / "t.jsonl")] == rows


def test_rows_of_a_parquet_file_are_those_that_pyarrow_reads(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    moment = datetime.datetime(2020, 2, 29, 12, 30)
    columns: dict[str, Any] = {
        "text": ["a", None, "\u2028é"], "dictionary": pa.array(["x", "y", "x"]).dictionary_encode(),
        "number": pa.array([1, None, 3], pa.int8()), "double": [0.1, float("inf"), None], "yes": [True, None, False],
        "bytes": [b"\x00\xff", b"", None], "list": [[1, 2], [], None],
        "large": pa.array(["a", "b", None], pa.large_string()),
        "struct": [{"a": 1, "b": [None, "x"]}, {"a": None, "b": None}, None],
        "day": [moment.date(), None, moment.date()],
        "time": pa.array([moment, None, moment], pa.timestamp("us", "Europe/Paris")),
        "decimal": pa.array([None, 1, 2], pa.int64()).cast(pa.decimal128(24, 2)),
        "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int32())),
    }  # fmt: skip
    table = pa.table(columns)
    for compression in ("none", "snappy", "zstd"):
        pq.write_table(table, tmp_path / "t.parquet", row_group_size=2, compression=compression)
        assert [row for _, row in parquet_rows(tmp_path / "t.parquet", 1)] == table.to_pylist()


def test_a_number_of_32_bits_is_written_as_short_as_it_is(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    said = pa.array([0.1, 2.0, 1.25, 3.4e38], pa.float32())
    pq.write_table(pa.table({"question": ["Q"] * 4, "answer": said}), tmp_path / "t.parquet")
    rows = [row for shard in [str(tmp_path / "t.parquet")] for row in Parquet(path=shard).read(shard)]
    assert [row.turns[-1].text for row in rows if isinstance(row, Sample)] == ["0.1", "2", "1.25", "3.4e+38"]


def test_rows_of_a_data_set_are_those_that_datasets_reads_with_names_for_codes(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets

        kinds = datasets.ClassLabel(names=["ct", "mr", "us"])
        features = datasets.Features(
            {
                "question": datasets.Value("string"),
                "answer": datasets.Value("string"),
                "kind": kinds,
                "stars": datasets.Value("int8"),
            }
        )
        columns = {"question": [f"Q{n}" for n in range(150)], "answer": [f"A{n}" for n in range(150)],
                   "kind": [n % 3 for n in range(150)],
                   "stars": [None if n % 7 else n % 5 for n in range(150)]}  # fmt: skip
        saved = datasets.Dataset.from_dict(columns, features=features)
        saved.save_to_disk(str(tmp_path / "saved"))
        reader = HuggingFace(path=str(tmp_path / "saved"), columns={"tags": {"modality": "kind"}, "meta": ["stars"]})
        rows = list(reader.read(""))
        theirs = list(datasets.load_from_disk(str(tmp_path / "saved")))
    assert len(rows) == len(theirs) == 150 and not any(isinstance(row, Fault) for row in rows)
    for row, their in zip(rows, theirs, strict=True):
        assert isinstance(row, Sample)
        assert [turn.text for turn in row.turns] == [their["question"], their["answer"]]
        assert row.tags["modality"] == kinds.int2str(their["kind"]) and row.meta == {"stars": their["stars"]}


@pytest.mark.parametrize("kind", ["csv", "llava", "parquet"])
def test_one_table_in_three_formats_is_one_set_of_samples(tmp_path: Path, kind: str) -> None:
    import pandas

    rows = [
        {"id": f"r{n}", "question": f"Q, {n}?\nAnd?", "answer": f'"A" {n} é', "image": f"{n}.png"} for n in range(20)
    ]
    frame = pandas.DataFrame(rows)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.llava").write_text(frame.to_json(orient="records"))
    kinds: dict[str, type] = {"csv": Csv, "llava": Llava, "parquet": Parquet}
    columns = {} if kind == "llava" else {"columns": {"id": "id"}}
    reader = kinds[kind](path=str(tmp_path / f"t.{kind}"), **columns)
    found = list(reader.read(reader.shards()[0]))
    assert [row.id for row in found] == [f"r{n}" for n in range(20)]
    for row, wanted in zip(found, rows, strict=True):
        assert [turn.text for turn in row.turns] == [wanted["question"], wanted["answer"]]
        assert [Path(medium.uri).name for medium in row.media] == [wanted["image"]]
