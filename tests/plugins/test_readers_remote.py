"""Sources at a URL: fetched once, again when they changed, media beside them too, and one by one where asked."""

from __future__ import annotations

import functools
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest

from infimed_core import DataError
from infimed_core.testing import make_image
from infimed_plugins.readers.jsonl import Jsonl
from infimed_plugins.readers.llava import Llava
from infimed_plugins.readers.remote import cache_root, place_of, url_of


class Served:
    """A folder of this machine over HTTP; ``asked`` are the files that were fetched whole."""

    def __init__(self, folder):
        asked = self.asked = []
        state = self.state = {"fail": 0}

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *arguments):
                pass

            def do_GET(self):
                if state["fail"]:
                    state["fail"] -= 1
                    self.send_error(503)
                    return
                asked.append(self.path)
                super().do_GET()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INFIMED_REMOTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("infimed_plugins.readers.remote.FIRST_WAIT", 0.01)


@pytest.fixture
def served(tmp_path):
    folder = tmp_path / "data"
    (folder / "pictures").mkdir(parents=True)
    rows = []
    for number in range(3):
        (folder / "pictures" / f"{number}.png").write_bytes(make_image(20, 30, seed=number))
        talk = [{"from": "human", "value": f"<image>\nWhich is {number}?"}, {"from": "gpt", "value": "this"}]
        rows.append({"id": f"r{number}", "image": f"pictures/{number}.png", "conversations": talk})
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    found = Served(folder)
    found.folder = folder
    yield found
    found.server.shutdown()
    found.server.server_close()


def read(reader):
    return [row for shard in reader.shards() for row in reader.read(shard)]


def test_rows_and_their_images_come_from_a_server_once_and_equal_the_local_ones(served):
    remote, local = Llava(path=f"{served.url}/rows.json"), Llava(path=str(served.folder / "rows.json"))
    assert remote.problems({}) == {} and remote.doubts() == () and served.asked == []  # a check fetches nothing
    first, own = read(remote), read(local)
    assert [row.turns for row in first] == [row.turns for row in own]
    assert [row.id for row in first] == [row.id for row in own] and len(first) == 3
    assert all(row.media[0].uri.startswith(str(cache_root())) for row in first)
    for one, other in zip(first, own, strict=True):
        with open(one.media[0].uri, "rb") as a, open(other.media[0].uri, "rb") as b:
            assert a.read() == b.read()
    count = len(served.asked)
    assert count == 4 and read(remote) == first and len(served.asked) == count


def test_a_file_that_changed_is_fetched_again_and_has_another_fingerprint(served):
    reader = Llava(path=f"{served.url}/rows.json")
    before, rows = reader.fingerprint(), read(reader)
    assert reader.fingerprint() == before
    body = json.loads((served.folder / "rows.json").read_text(encoding="utf-8"))[:2]
    (served.folder / "rows.json").write_text(json.dumps(body), encoding="utf-8")
    assert reader.fingerprint() != before
    assert read(reader) == rows[:2]


def test_a_server_that_fails_for_a_moment_is_asked_again_and_one_that_is_gone_ends_the_reading(served):
    served.state["fail"] = 2
    assert len(read(Llava(path=f"{served.url}/rows.json"))) == 3
    with pytest.raises(DataError, match=r"nowhere\.json: no such file"):
        read(Llava(path=f"{served.url}/nowhere.json"))


def test_another_protocol_with_a_pattern_is_read_file_by_file(tmp_path):
    files = fsspec.filesystem("memory")
    for number in range(3):
        turns = [{"role": "user", "content": [f"Q{number}"]}, {"role": "assistant", "content": ["A"]}]
        with files.open(f"/bucket/part-{number}.jsonl", "w") as stream:
            stream.write(json.dumps({"id": f"m{number}", "turns": turns}) + "\n")
    try:
        reader = Jsonl(path="memory://bucket/part-*.jsonl", keep_fetched=False)
        assert len(reader.shards()) == 3
        assert sorted(row.id for row in read(reader)) == ["m0", "m1", "m2"]
        assert not [path for path in cache_root().rglob("*") if path.is_file()]  # never more than one on the disk
        with pytest.raises(DataError, match="nothing matches"):
            Jsonl(path="memory://bucket/none-*.jsonl").shards()
    finally:
        files.rm("/bucket", recursive=True)


def test_places_and_urls_map_both_ways_and_secrets_are_refused():
    for url in ("https://host:8000/a/b c.json", "s3://bucket/key/x.parquet", "hf://datasets/owner/name/data.jsonl"):
        assert url_of(place_of(url)) == url
    for url in ("https://user:secret@host/a", "https://host/../a"):
        with pytest.raises(DataError) as raised:
            place_of(url)
        assert "secret" not in str(raised.value)
    assert "nosuch" in Jsonl(path="nosuch://bucket/x.jsonl").problems({})["path"]
