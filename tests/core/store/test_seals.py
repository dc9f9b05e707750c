"""Damage in a seal, in run.json, in a medium and in the cache of answers is found, and nothing waits for a pipe."""

import json
import os
import re
from pathlib import Path

import pytest

from infimed_core import InfimedError, digest_of_checkpoint
from infimed_core.models.answer_cache import AnswerCache
from infimed_core.store.files import with_checksum, without_checksum
from infimed_core.store.record import RunDirectory, new_record, read_record
from infimed_core.testing import make_image, make_sample, run
from infimed_plugins.operations.checksums import damaged_files


def change_a_digit(file: Path, after: str) -> None:
    """Another digit, by one, behind the first place where ``after`` stands."""
    text = file.read_text()
    place = re.compile(re.escape(after) + r"\D{0,3}?([0-8])").search(text)
    assert place is not None
    file.write_text(text[: place.start(1)] + str(int(place[1]) + 1) + text[place.end(1) :])


def test_a_digit_of_a_seal_of_the_record_a_medium_and_a_report_is_found(tmp_path: Path) -> None:
    samples = [make_sample(f"s{n}", f"Which plane is number {n}?", images=[make_image(seed=n)]) for n in range(4)]
    (tmp_path / "s.jsonl").write_text("\n".join(row.model_dump_json() for row in samples) + "\n")
    document = {
        "run": {"name": "r"},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(tmp_path / "s.jsonl")}}]},
        "report": [{"use": "terminal"}],
    }
    first = run(document, tmp_path)
    place = tmp_path / "runs" / "r"
    assert damaged_files(place)[2] == []
    assert read_record(place) == first
    summary = (place / "summary.txt").read_text()
    (place / "summary.txt").write_text(summary.replace("4", "5"))
    change_a_digit(place / "run.json", '"num_out":')
    medium = next((place / "media").rglob("*.png"))
    content = medium.read_bytes()
    medium.write_bytes(content[:-1] + b"\0")
    told = damaged_files(place)[2]
    assert [line.partition(":")[0] for line in told] == [
        str(place / "run.json"),
        str(medium),
        str(place / "summary.txt"),
    ]
    medium.write_bytes(content)
    run(document, tmp_path)  # writes both anew
    assert (place / "summary.txt").read_text() == summary and damaged_files(place)[2] == []
    (seal,) = (place / "artifacts").glob("read-*/artifact.json")
    change_a_digit(seal, '"num_in":')
    assert len(damaged_files(place)[2]) == 1
    with pytest.raises(InfimedError, match=r"artifact\.json: is not as it was written .*`rm -r .*read-"):
        run(document, tmp_path)


def test_what_an_earlier_version_wrote_has_no_checksum_and_is_read() -> None:
    old = json.dumps({"a": [1, "ü"], "b": {"c": 2}}, indent=1)
    assert without_checksum(old.encode()) == (old.encode(), True)
    new = with_checksum(old).encode()
    assert without_checksum(new) == (old.encode(), True) and json.loads(new)["b"] == {"c": 2}
    assert not without_checksum(new.replace(b"2", b"3", 1))[1]


@pytest.mark.parametrize(
    "line", ["[1]", "5", '"text"', "null", '{"key": [], "answer": 3}', "{}", '{"key": "k"}', "[" * 9999]
)
def test_a_damaged_line_of_the_cache_is_asked_again(tmp_path: Path, line: str) -> None:
    (tmp_path / "c.jsonl").write_text(f"{line}\n")
    AnswerCache(tmp_path / "c.jsonl", "model", [tmp_path / "c.jsonl"])


def test_a_pipe_in_place_of_a_cache_is_told_and_one_of_another_run_is_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.jsonl")
    with pytest.raises(InfimedError, match=r"c\.jsonl: is no regular file; remove it"):
        AnswerCache(tmp_path / "c.jsonl", "model")
    AnswerCache(tmp_path / "own.jsonl", "model", [tmp_path / "c.jsonl"])


def test_a_folder_or_a_pipe_in_place_of_the_owner_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "owner").mkdir()
    directory = RunDirectory(tmp_path, new_record("r", 0, {}, ()))
    with pytest.raises(InfimedError, match="cannot be used as a run's directory"):
        directory.hold()
    (tmp_path / "owner").rmdir()
    os.mkfifo(tmp_path / "owner")
    assert directory.hold() == ""
    directory.release()


@pytest.mark.parametrize(
    "name", ["part/w.safetensors", "additional_chat_templates/tool.jinja", "v.tiktoken", "merges", "w"]
)
def test_every_file_below_a_checkpoint_is_part_of_who_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = digest_of_checkpoint(str(tmp_path))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("1")
    first = digest_of_checkpoint(str(tmp_path))
    (tmp_path / name).write_text("2")
    assert len({before, first, digest_of_checkpoint(str(tmp_path))}) == 3
    for note in ("README", "notes.md", ".git/HEAD", ".cache/x.json", "figure.png"):
        (tmp_path / note).parent.mkdir(exist_ok=True)
        (tmp_path / note).write_text("note")
    (tmp_path / name).write_text("1")
    assert digest_of_checkpoint(str(tmp_path)) == first
