"""A shard is read piece by piece: a kill costs the last piece, and what comes out is what one reading gives."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from infimed_core import Fault, Reader, Sample
from infimed_core.curate import read_task
from infimed_core.curate.read_task import NAMES, ReadTask
from infimed_core.testing import make_image, make_sample
from infimed_plugins.readers.huggingface import HuggingFace
from infimed_plugins.readers.jsonl import Jsonl
from infimed_plugins.volumes.reader import Volumes

NUM_ROWS = 12


class Killed(BaseException):
    """What ends a process in the middle of a row."""


class Counting(Reader):
    """Twelve rows, every fifth of them a fault; killed once before each row that is in ``killed``."""

    killed: ClassVar[list[int]] = []
    num_made: ClassVar[int] = 0

    def read(self, shard: str) -> Iterator[Sample | Fault]:
        return self.read_from(shard, 0)

    def read_from(self, shard: str, start: int) -> Iterator[Sample | Fault]:
        for number in range(start, NUM_ROWS):
            if number in self.killed:
                self.killed.remove(number)
                raise Killed
            Counting.num_made += 1
            if number % 5 == 4:
                yield Fault(sample_id=f"s{number}", code="bad_row", detail="as it is")
            else:
                yield make_sample(f"s{number}", images=[make_image(seed=number)] if number % 2 else [])

    def place(self) -> str:
        return f"row {Counting.num_made}"


def read(folder: Path, *killed: int) -> dict[str, bytes]:
    """Start a task again until it is done; what its part holds."""
    Counting.killed, Counting.num_made = list(killed), 0
    task = ReadTask(Counting(), "counting", "", folder / "r" / "part-00000", folder / "media")
    for _ in range(len(killed)):
        with pytest.raises(Killed):
            task()
    task()
    left = {path.name for path in (folder / "r").iterdir()}
    assert left == {f"part-00000.{name}" for name in NAMES}
    return {name: path.read_bytes() for name, path in task.parts.items()}


@pytest.mark.parametrize("killed", [(0,), (1,), (5, 5), (3, 7, 11), tuple(range(NUM_ROWS))])
def test_a_reading_that_is_killed_again_and_again_reads_no_row_twice_and_gives_the_same(tmp_path, monkeypatch, killed):
    whole = read(tmp_path / "whole")
    monkeypatch.setattr(read_task, "FIRST_SECONDS", 0.0)  # every row is a piece
    assert read(tmp_path / "killed", *killed) == whole
    assert Counting.num_made == NUM_ROWS


def test_pieces_get_longer_so_that_a_long_shard_has_few_of_them(tmp_path, monkeypatch):
    clock, until = iter(range(10_000)), []
    monkeypatch.setattr(read_task.time, "monotonic", lambda: next(clock))
    piece = ReadTask._read_piece
    monkeypatch.setattr(
        ReadTask, "_read_piece", lambda self, rows, files, end: until.append(end) or piece(self, rows, files, end)
    )
    read(tmp_path)
    assert len(until) == 4


@pytest.mark.parametrize("at", range(len(NAMES)))
def test_a_kill_while_the_only_piece_becomes_the_part_is_mended(tmp_path, monkeypatch, at):
    whole = read(tmp_path / "whole")
    task = ReadTask(Counting(), "counting", "", tmp_path / "r" / "part-00000", tmp_path / "media")
    replace = Path.replace
    moved = []

    def some(self, target):
        if ".0." in self.name and not self.name.endswith(".tmp"):
            if len(moved) == at:
                raise Killed
            moved.append(self)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", some)
    Counting.num_made = 0
    with pytest.raises(Killed):
        task()
    monkeypatch.undo()
    task()
    assert {name: path.read_bytes() for name, path in task.parts.items() if name != "places"} == {
        name: text for name, text in whole.items() if name != "places"
    }
    assert Counting.num_made == NUM_ROWS


def readers(folder: Path) -> Iterator[Reader]:
    datasets = pytest.importorskip("datasets")
    rows = [make_sample(f"s{number}", images=[]).model_dump(mode="json") for number in range(7)]
    lines = [json.dumps(row) for row in rows]
    (folder / "one.jsonl").write_text("\n".join([*lines[:3], "{", *lines[3:]]))
    (folder / "two.jsonl").write_text("\n".join(lines))
    yield Jsonl(path=str(folder / "one.jsonl"))
    yield Jsonl(path=str(folder / "*.jsonl"), max_samples=11)
    yield Volumes(reader={"use": "jsonl", "with": {"path": str(folder / "one.jsonl")}})
    table = {"question": [f"{n}?" for n in range(70)], "answer": ["yes"] * 69 + [""]}
    datasets.Dataset.from_dict(table).save_to_disk(str(folder / "saved"))
    yield HuggingFace(path=str(folder / "saved"))


def test_reading_from_a_row_on_gives_the_rows_after_it_with_their_places(tmp_path: Path) -> None:
    for reader in readers(tmp_path):
        for shard in reader.shards():
            whole = [(row, reader.place()) for row in reader.read(shard)]
            assert len(whole) > 6
            for start in (0, 1, 3, 4, len(whole) - 1, len(whole), len(whole) + 1):
                assert [(row, reader.place()) for row in reader.read_from(shard, start)] == whole[start:], reader
