"""Files of JSON and tables as programs write them in bulk: lists for each split, wide tables, many small entries."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from infimed_core import DataError, Fault, Sample
from infimed_core.testing import make_image
from infimed_plugins.readers.command import written
from infimed_plugins.readers.json_array import array_entries
from infimed_plugins.readers.jsonl import parsed
from infimed_plugins.readers.llava import Llava
from infimed_plugins.readers.tables import Csv


def read(reader: Any) -> list[Sample | Fault]:
    return [row for shard in reader.shards() for row in reader.read(shard)]


def films(folder: Path, names: tuple[str, ...], indent: int | None = None) -> Path:
    """An object with a list of reports for each split, each about two images."""
    number, body = 0, dict[str, Any]()
    for size, name in enumerate(names, start=2):
        body[name] = []
        for _ in range(size):
            (folder / "images" / f"CXR{number}").mkdir(parents=True)
            images = [f"CXR{number}/{view}.png" for view in range(2)]
            for view, image in enumerate(images):
                (folder / "images" / image).write_bytes(make_image(seed=2 * number + view))
            body[name].append({"id": f"CXR{number}", "report": f"Film {number} is clear.", "image_path": images})
            number += 1
    (folder / "annotation.json").write_text(json.dumps(body, indent=indent))
    return folder / "annotation.json"


@pytest.mark.parametrize("indent", [None, 1])
def test_each_list_of_an_object_is_a_split_and_one_is_read(tmp_path: Path, indent: int | None) -> None:
    file = films(tmp_path, ("train", "val", "test"), indent)
    settings = {"path": str(file), "image_root": str(tmp_path / "images"), "image_key": "image_path"}
    seen = []
    for split, size in (("train", 2), ("val", 3), ("test", 4)):
        rows = read(Llava(**settings, split=split))
        assert len(rows) == size and all(isinstance(row, Sample) for row in rows)
        seen += rows
    assert [len(row.media) for row in seen] == [2] * 9  # type: ignore[union-attr]
    assert [row.turns[-1].text for row in seen] == [f"Film {n} is clear." for n in range(9)]  # type: ignore[union-attr]
    assert all("report" not in row.meta for row in seen)  # type: ignore[union-attr]
    (told,) = read(Llava(**settings))
    assert isinstance(told, Fault) and "set split: train" in told.detail and "'test' (4 rows)" in told.detail
    with pytest.raises(DataError, match="'dev'"):
        list(Llava(**settings, split="dev").rows(file))
    with pytest.raises(DataError, match="leave out split"):
        file.write_text(json.dumps([{"question": "Q", "answer": "A"}]))
        list(Llava(**settings, split="train").rows(file))


@pytest.mark.parametrize(
    ("names", "chosen"), [(("train", "val", "test"), "train"), (("test", "training"), "training"), (("a", "b"), "a")]
)
def test_init_reads_the_list_that_is_trained_on_and_names_the_others(
    tmp_path: Path, names: tuple[str, ...], chosen: str
) -> None:
    films(tmp_path, names)
    text, said = written(tmp_path, tmp_path)
    assert f"split: {chosen}\n" in text and "image_key: image_path" in text and "image_root: images" in text
    others = ", ".join(name for name in names if name != chosen)
    assert f"not read: {others}" in text and f"not read: {others}" in said


def test_a_report_beside_a_question_is_kept_and_alone_is_the_answer(tmp_path: Path) -> None:
    rows = [{"question": "Q", "answer": "A", "report": "long"}, {"report": "short"}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    first, second = read(Llava(path=str(tmp_path / "a.json")))
    assert isinstance(first, Sample) and first.turns[-1].text == "A" and first.meta == {"report": "long"}
    assert isinstance(second, Sample) and second.turns[-1].text == "short" and not second.meta


def seconds(work: Any) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def test_wide_tables_many_entries_and_many_keys_cost_what_they_weigh(tmp_path: Path) -> None:
    names, file = [f"c{number}" for number in range(20_000)], tmp_path / "wide.csv"
    file.write_text(",".join([*names, "question", "answer"]) + "\n" + "," * len(names) + "Q,A\n")
    assert seconds(lambda: read(Csv(path=str(file)))) < 5
    small = "[" + "1,\n" * 200_000 + "1]"
    assert seconds(lambda: sum(1 for _ in array_entries(io.StringIO(small)))) < 15
    twice = ",".join(f'"k{number}": 1' for number in [*range(50_000), 49_999])
    assert seconds(lambda: parsed("{" + twice + "}")) < 5 and "'k49999'" in str(parsed("{" + twice + "}"))


def test_lines_of_entries_are_counted_whole_and_in_pieces() -> None:
    text = "[\n" + ",\n\n".join('{"a": 1}' if number % 3 else '{"a": x}' for number in range(1, 200)) + "\n]\n"
    wanted = [(2 * number, number % 3 == 0) for number in range(1, 200)]
    for size in (1, 7, 64, 1_000, 2**20):
        found = [(line, isinstance(entry, DataError)) for line, entry in array_entries(io.StringIO(text), size)]
        assert found == wanted, size
