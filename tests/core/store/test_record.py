"""Artifacts and run.json: a thing stands only when it is finished, and a reader never sees a part of it."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infimed_core import InfimedError
from infimed_core.api.reporting import RunRecord, StepRecord
from infimed_core.store.artifacts import Artifact, digest
from infimed_core.store.files import write_atomically
from infimed_core.store.record import RunDirectory, is_gone, new_record, read_record

DONE = StepRecord(name="x", kind="x", status="done")


def test_artifact_stands_only_after_its_seal(tmp_path: Path) -> None:
    artifact = Artifact(tmp_path, "index", digest("a"))
    (artifact.open() / "data.bin").write_bytes(b"12345")
    assert not artifact.is_complete
    artifact.seal(DONE)
    assert artifact.is_complete and Artifact(tmp_path, "index", digest("a")).record() == DONE
    assert not Artifact(tmp_path, "index", digest("b")).is_complete


def test_artifact_with_a_shortened_or_missing_file_does_not_stand(tmp_path: Path) -> None:
    artifact = Artifact(tmp_path, "index", digest("a"))
    data = artifact.open() / "data.bin"
    data.write_bytes(b"12345")
    artifact.seal(DONE)
    data.write_bytes(b"1234")
    assert not artifact.is_complete
    data.unlink()
    assert not artifact.is_complete


def test_open_empties_what_an_unfinished_step_left_unless_told_to_keep_it(tmp_path: Path) -> None:
    artifact = Artifact(tmp_path, "score", digest("a"))
    (artifact.open() / "part").write_text("1")
    assert (artifact.open(keep=True) / "part").exists()
    assert not (artifact.open() / "part").exists()


def test_digest_depends_on_values_and_not_on_key_order() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest("a", "b") != digest("ab")


def test_atomic_write_leaves_no_temporary_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "x.json", "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


HOLDER = """
import sys, time
from pathlib import Path
from infimed_core.store.record import RunDirectory, new_record

directory = RunDirectory(Path(sys.argv[1]), new_record("r", 0, {}, ()))
directory.hold()
print("held", flush=True)
time.sleep(60)
"""


def test_second_process_is_refused_and_a_dead_ones_lock_is_free(tmp_path: Path) -> None:
    record = new_record("r", 0, {}, ())
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(InfimedError, match=rf"another process \(process {holder.pid} on .*\) is working"):
            RunDirectory(tmp_path, record).hold()
        assert not is_gone(tmp_path, record)
    finally:
        holder.kill()
        holder.communicate()
    assert is_gone(tmp_path, record)
    directory = RunDirectory(tmp_path, record)
    before = directory.hold()
    assert before.startswith(f"process {holder.pid} on ") and "started 2" in before and "since 2" in before
    with pytest.raises(InfimedError, match=f"process {os.getpid()} on"):
        RunDirectory(tmp_path, record).hold()
    directory.release()
    assert RunDirectory(tmp_path, record).hold() == ""  # it was given back


def test_a_container_of_the_same_machine_is_refused_although_it_sees_no_process_of_the_owner(tmp_path: Path) -> None:
    container = ["unshare", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*container, "true"], capture_output=True).returncode:
        pytest.skip("needs unshare, with user namespaces")
    command = [*container, sys.executable, "-c", HOLDER, str(tmp_path)]
    record = new_record("r", 0, {}, ())
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as inside:
        assert inside.stdout is not None and inside.stdout.readline() == "held\n"
        with pytest.raises(InfimedError, match=r"another process \(process 1 on .*\) is working"):
            RunDirectory(tmp_path, record).hold()
        inside.kill()
    until = time.monotonic() + 300
    while not is_gone(tmp_path, record) and time.monotonic() < until:
        time.sleep(0.05)
    directory = RunDirectory(tmp_path, record)
    assert directory.hold().startswith("process 1 on ")
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 1 and f"another process (process {os.getpid()} on" in second.stderr


def test_a_file_of_that_name_with_the_number_of_a_living_process_refuses_nothing(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(str(os.getppid()))
    RunDirectory(tmp_path, new_record("r", 0, {}, ())).hold()


def test_record_round_trips_and_foreign_formats_are_refused(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, new_record("r", 3, {"run": {"name": "r"}}, ()))
    directory.write(status="done")
    record = read_record(tmp_path)
    assert isinstance(record, RunRecord) and record.status == "done" and record.seed == 3
    body = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**body, "format": 99}))
    with pytest.raises(InfimedError, match=r"a later version \(record format 99; this one reads 2\): update InfiMed"):
        read_record(tmp_path)
    with pytest.raises(InfimedError, match="no such run"):
        read_record(tmp_path / "absent")


LEASED = """
import errno, fcntl
from infimed_core.store import record as records

def refuse(file, operation):
    raise OSError({number}, "no locks")

fcntl.flock = refuse
records.LEASE_SECONDS = 0.6
"""


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_has_one_owner_by_a_lease_that_is_renewed(tmp_path, monkeypatch, number) -> None:
    from infimed_core.store import record as records

    def refuse(file, operation):
        raise OSError(number, "no locks")

    script = LEASED.format(number=number) + HOLDER
    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr(records, "LEASE_SECONDS", 0.6)
    record = new_record("r", 0, {}, ())
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(InfimedError, match=rf"another process \(process {holder.pid} on .*\) is working"):
            RunDirectory(tmp_path, record).hold()  # longer than a lease lasts: it is renewed
        assert not is_gone(tmp_path, record)
    finally:
        holder.kill()
        holder.communicate()
    os.utime(tmp_path / "lease", (1.0, 1.0))
    assert is_gone(tmp_path, record)
    directory = RunDirectory(tmp_path, record)
    assert directory.hold().startswith(f"process {holder.pid} on ")
    directory.release()
    assert not (tmp_path / "lease").exists() and RunDirectory(tmp_path, record).hold() == ""


def test_a_process_whose_lease_another_has_taken_ends_and_says_to_whom(tmp_path: Path) -> None:
    script = LEASED.format(number=errno.ENOLCK) + HOLDER
    command = [sys.executable, "-c", script, str(tmp_path)]
    first, second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True), None
    try:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        first.send_signal(signal.SIGSTOP)  # a machine that sleeps, or a disk that hangs
        second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert second.stdout is not None and second.stdout.readline() == "held\n"
        first.send_signal(signal.SIGCONT)
        told = first.communicate(timeout=300)[1]
        assert first.returncode == 1 and f"has lost its lease of the directory to process {second.pid} on" in told
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                process.communicate()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_directory_that_cannot_be_held_is_one_line(tmp_path: Path, monkeypatch, number: int) -> None:
    def refuse(self, timeout=None):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(InfimedError) as caught:
        RunDirectory(tmp_path, new_record("r", 0, {}, ())).hold()
    assert str(caught.value).startswith(f"{tmp_path}: cannot be used as a run's directory (")
    (tmp_path / "file").write_text("")
    monkeypatch.undo()
    with pytest.raises(InfimedError, match="cannot be used"):
        RunDirectory(tmp_path / "file" / "run", new_record("r", 0, {}, ())).hold()


def test_the_revision_is_that_of_the_run_files_repository_or_none(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        made = subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True, text=True)
        return made.stdout.strip()

    assert new_record("r", 0, {}, (), tmp_path).environment["git_revision"] is None
    git("init", "-q")
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    git(*identity, "commit", "-q", "--allow-empty", "-m", "x")
    (tmp_path / "files").mkdir()
    assert new_record("r", 0, {}, (), tmp_path / "files").environment["git_revision"] == git("rev-parse", "HEAD")
    assert new_record("r", 0, {}, ()).environment["git_revision"] is None
