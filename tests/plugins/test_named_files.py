"""A file that a user names may be a pipe, a device or far too large: it is refused in one line, not waited for."""

from __future__ import annotations

import gzip
import io
import os
import signal
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infimed_core import DataError, InfimedError, Registry, load_plugins, load_run_file, read_named
from infimed_core.evaluate.choices import chosen_samples
from infimed_core.named_files import digest_of_files
from infimed_core.store.record import read_record
from infimed_plugins.mdt.reading import read_cases
from infimed_plugins.medevalkit.rescore import rescore
from infimed_plugins.migration.command import Tool, converted
from infimed_plugins.predictions.layouts import read_predictions
from infimed_plugins.quality.agreement import read_labels
from infimed_plugins.quality.calibration import load_calibration
from infimed_plugins.quality.privacy.command import _key
from infimed_plugins.quality.profile import load_profile
from infimed_plugins.quality.validation_command import Finished
from infimed_plugins.readers.guessing import guess
from infimed_plugins.readers.webdataset import WebDataset
from infimed_plugins.reasoning.reflection import read_templates
from infimed_plugins.solvers.roles import read_roles
from infimed_plugins.vlm.tiny import TinyQwen3VL


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_plugins()


def cases(path: Path) -> None:
    (line,) = read_cases(path)
    raise InfimedError("; ".join(line.problems))


READS: dict[str, tuple[str, Callable[[Path, Registry], Any]]] = {
    "run file": ("r.yaml", lambda path, registry: load_run_file(path, registry)),
    "plugin": ("r.py", lambda path, registry: registry.add_file(path, always=True)),
    "run": ("run.json", lambda path, _: read_record(path)),
    "ids of questions": ("r.txt", lambda path, _: chosen_samples(str(path))),
    "answers": ("r.jsonl", lambda path, _: read_predictions(path, "jsonl", None, None)),
    "table of answers": ("r.csv", lambda path, _: read_predictions(path, "jsonl", None, None)),
    "results": ("r.json", lambda path, _: rescore(path, "slake")),
    "recipe": ("r.yaml", lambda path, _: converted(Tool.llama_factory, path, 1)),
    "command": ("r.sh", lambda path, _: converted(Tool.ms_swift, path, 1)),
    "profile": ("r.yaml", lambda path, _: load_profile(str(path))),
    "calibration": ("r.json", lambda path, _: load_calibration(str(path))),
    "labels": ("r.csv", lambda path, _: read_labels(path)),
    "results of a validation": ("r.json", lambda path, _: Finished(path, {})),
    "key": ("r.key", lambda path, _: _key(path)),
    "patterns": ("r.yaml", lambda path, _: read_templates(str(path))),
    "roles": ("r.yaml", lambda path, _: read_roles(path)),
    "cases": ("r.jsonl", lambda path, _: cases(path)),
    "template": ("r.jinja", lambda path, _: TinyQwen3VL(chat_template=str(path)).chat_settings()),
}


@pytest.mark.parametrize("what", READS)
def test_a_pipe_or_a_device_is_one_line_and_is_not_waited_for(what: str, tmp_path: Path, registry: Registry) -> None:
    name, read = READS[what]
    for kind in ("pipe", "device"):
        path = tmp_path / kind / name
        path.parent.mkdir()
        os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
        before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it was waited for"))
        signal.alarm(30)
        try:
            with pytest.raises(InfimedError, match=r"plain file|no quality profile") as caught:
                read(path, registry)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["run file", "plugin", "ids of questions", "calibration", "roles", "cases", "key"])
def test_a_file_that_no_memory_should_hold_is_one_line(what: str, tmp_path: Path, registry: Registry) -> None:
    name, read = READS[what]
    with (tmp_path / name).open("wb") as stream:
        stream.truncate(2**33)  # a hole: it takes no room
    with pytest.raises(InfimedError, match="larger than 64 MB"):
        read(tmp_path / name, registry)


def test_a_file_that_is_no_larger_than_allowed_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1234")
    assert read_named(tmp_path / "a", 4) == b"1234"
    with pytest.raises(OSError, match="larger than"):
        read_named(tmp_path / "a", 3)
    with pytest.raises(IsADirectoryError):
        read_named(tmp_path)


def test_a_pipe_within_a_folder_that_settings_name_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    assert digest_of_files({"path": str(tmp_path)}) != digest_of_files({})


def test_a_pipe_among_the_files_of_a_folder_is_not_opened_by_init(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,answer\nWhich?,axial\nWhere?,left\n")
    for name in ("b.csv", "c.jsonl", "d.txt", "e.parquet", "f.tar", "README.md"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "g.csv").symlink_to("/dev/zero")
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it was waited for"))
    signal.alarm(60)
    try:
        found = guess(tmp_path)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert found[0].use == "csv"


def test_a_tar_that_unpacks_to_far_more_costs_no_more_than_what_it_unpacks_to(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as zipped, tarfile.open(fileobj=zipped, mode="w|") as tar:
        for name, size in (("a.txt", 5), ("a.png", 200 * 2**20), ("b.txt", 5), ("b.png", 5)):
            member = tarfile.TarInfo(name)
            member.size = size
            tar.addfile(member, io.BytesIO(bytes(size)))
    (tmp_path / "a.tar.gz").write_bytes(packed.getvalue())
    reader, start = WebDataset(path=str(tmp_path / "a.tar.gz"), max_member_bytes=2**20), time.process_time()
    rows = [row for shard in reader.shards() for row in reader.read(shard)]
    assert time.process_time() - start < 5
    assert [getattr(row, "code", "") for row in rows][:1] == ["too_large"] and len(rows) == 2


@pytest.mark.parametrize("size", [2**40, 2**62])
@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_a_member_that_says_it_is_larger_than_any_file_ends_the_file_at_once(
    tmp_path: Path, size: int, ending: str
) -> None:
    member = tarfile.TarInfo("a.png")
    member.size = size
    content = member.tobuf(tarfile.GNU_FORMAT) + bytes(5_000)
    (tmp_path / f"a{ending}").write_bytes(gzip.compress(content) if ending == ".tar.gz" else content)
    reader, start = WebDataset(path=str(tmp_path / f"a{ending}")), time.process_time()
    with pytest.raises(DataError, match="ends or breaks"):
        list(reader.rows(tmp_path / f"a{ending}"))
    assert time.process_time() - start < 5
