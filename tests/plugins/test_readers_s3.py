"""Sources on S3: a real server (moto's) in a process of its own, stock s3fs, and a data set larger than the cache."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("moto", reason="needs moto[server], of the extra test")
pytest.importorskip("s3fs", reason="needs the extra s3")

from infimed_core import DataError
from infimed_core.store.dataset import Dataset
from infimed_core.testing import make_image, run
from infimed_plugins.image.modality import Image
from infimed_plugins.readers.jsonl import Jsonl
from infimed_plugins.readers.remote import cache_root

ROWS, SHARDS = 40, 5


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """moto's server in another process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
            break
        except OSError:
            assert process.poll() is None, "moto's server ended"
            time.sleep(0.1)
    yield url
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)


@pytest.fixture(autouse=True)
def service(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user says where their S3 is: by its own variables."""
    import s3fs

    given = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "not-to-be-told"}
    for name, value in (given | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("INFIMED_REMOTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("infimed_plugins.readers.remote.FIRST_WAIT", 0.01)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def bucket(endpoint: str, service: None, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A bucket with rows in shards, each of about 60 kB, and a tar of images."""
    import s3fs

    files = s3fs.S3FileSystem()
    name = f"films-{abs(hash(request.node.name)) % 10**8}"
    files.mkdir(name)
    for shard in range(SHARDS):
        rows = []
        for number in range(ROWS):
            asked = {"role": "user", "content": [f"Q{number} " + "word " * 300]}
            turns = [asked, {"role": "assistant", "content": ["A"]}]
            rows.append(json.dumps({"id": f"s{shard}-{number}", "turns": turns}))
        files.pipe(f"{name}/rows/part-{shard}.jsonl", ("\n".join(rows) + "\n").encode())
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for number in range(3):
            talk = {"conversations": [{"from": "human", "value": "<image>\nWhich?"}, {"from": "gpt", "value": "this"}]}
            for ending, body in (("png", make_image(20, 30, seed=number)), ("json", json.dumps(talk).encode())):
                entry = tarfile.TarInfo(f"{number:03}.{ending}")
                entry.size = len(body)
                tar.addfile(entry, io.BytesIO(body))
    files.pipe(f"{name}/films-000.tar", stream.getvalue())
    yield name
    files.rm(name, recursive=True)


def held() -> int:
    """Bytes of data in the cache."""
    return sum(path.stat().st_size for path in cache_root().rglob("*") if path.is_file() and path.name[0] != ".")


def test_a_data_set_larger_than_the_cache_is_read_shard_by_shard(bucket: str) -> None:
    reader = Jsonl(path=f"s3://{bucket}/rows/part-*.jsonl", keep_fetched=False)
    assert reader.problems({}) == {} and len(reader.shards()) == SHARDS
    found, most = [], 0
    for shard in reader.shards():
        for row in reader.read(shard):
            found.append(row.id)
            most = max(most, held())
    assert sorted(found) == sorted(f"s{shard}-{number}" for shard in range(SHARDS) for number in range(ROWS))
    assert 0 < most < 100_000 < SHARDS * 60_000 and held() == 0  # never two shards at once, none is left


def test_kept_files_are_fetched_once_and_again_when_the_object_changed(bucket: str) -> None:
    import s3fs

    reader = Jsonl(path=f"s3://{bucket}/rows/part-0.jsonl")
    before, (shard,) = reader.fingerprint(), reader.shards()
    assert len(list(reader.read(shard))) == ROWS and held() > 50_000
    assert reader.fingerprint() == before
    body = s3fs.S3FileSystem().cat(f"{bucket}/rows/part-0.jsonl").splitlines(keepends=True)
    s3fs.S3FileSystem().pipe(f"{bucket}/rows/part-0.jsonl", b"".join(body[:7]))
    assert reader.fingerprint() != before and len(list(reader.read(reader.shards()[0]))) == 7


def test_images_in_a_tar_on_s3_and_rows_in_shards_go_through_a_run(bucket: str, tmp_path: Path) -> None:
    sources = [
        {"use": "webdataset", "with": {"path": f"s3://{bucket}/films-*.tar", "keep_fetched": False}},
        {"use": "jsonl", "with": {"path": f"s3://{bucket}/rows/part-*.jsonl", "keep_fetched": False}},
    ]
    sections = {
        "run": {"name": "remote"},
        "data": {"sources": sources},
        "quality": {"scorers": [{"use": "five-dimension"}]},
    }
    record = run(sections, tmp_path)
    assert record.status == "done" and held() == 0
    read = next(step for step in record.steps if step.name == "read")
    assert read.num_out == SHARDS * ROWS + 3
    record_file = next(tmp_path.rglob("run.json"))
    assert "not-to-be-told" not in record_file.read_text()
    pictured = [row for row in Dataset(next(tmp_path.rglob("samples.jsonl"))) if row.media]
    assert len(pictured) == 3  # their pixels are the run's own now: the tar is gone from the cache
    assert all(Image().load(item).shape == (20, 30, 3) for row in pictured for item in row.media)


def test_what_is_not_there_or_not_allowed_is_one_line_without_the_secret(bucket: str, monkeypatch: Any) -> None:
    with pytest.raises(DataError, match=r"s3://.*none-\*\.jsonl: nothing matches"):
        Jsonl(path=f"s3://{bucket}/rows/none-*.jsonl").shards()
    gone = Jsonl(path=f"s3://{bucket}/rows/gone.jsonl")
    with pytest.raises(DataError, match=r"gone\.jsonl: no such file"):
        _ = [row for shard in gone.shards() for row in gone.read(shard)]
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(DataError) as raised:
        Jsonl(path=f"s3://{bucket}/rows/part-0.jsonl").fingerprint()
    assert "cannot be fetched" in str(raised.value) and os.environ["AWS_SECRET_ACCESS_KEY"] not in str(raised.value)
