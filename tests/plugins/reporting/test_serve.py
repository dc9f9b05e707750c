"""`infimed serve`: the page of a run that goes on, for this machine alone, and nothing beside it."""

import html
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import forked
import pytest
import yaml

from infimed_core.plugins import load_plugins
from infimed_core.records import open_run
from infimed_plugins.reporting.page.live import with_running_curves
from infimed_plugins.reporting.serving import Page, Server

sys.path.insert(0, str(Path(__file__).parent))

from browser import CHROMIUM, WHY_NOT, open_browser
from report_fixture import write_run

PAYLOAD = "</script><script>document.documentElement.dataset.hacked='1'</script><img src=x onerror=\"alert(1)\">"


@contextmanager
def served(directory: Path, share: float = 1.0) -> Iterator[Server]:
    server = Server(Page(directory, load_plugins().media_loader(), share), 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def ask(
    server: Server, path: str = "/", method: str = "GET", host: str | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host if host is not None else f"127.0.0.1:{port}")
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, {name.lower(): value for name, value in reply.getheaders()}, body


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    run = write_run(tmp_path_factory.mktemp("served") / "run", questions=12, images=3)
    (run.parent / "secret.png").write_bytes(b"secret")
    (run / "images" / "out.png").symlink_to(run.parent / "secret.png")
    with served(run) as server:
        yield server


def test_the_page_is_the_report_and_may_ask_its_own_server_alone(finished: Server) -> None:
    status, headers, body = ask(finished)
    assert status == 200 and headers["content-type"] == "text/html; charset=utf-8"
    text = html.unescape(body.decode())
    assert "connect-src 'self'" in text and "default-src 'none'" in text and "data-live=" in text
    assert headers["x-frame-options"] == "DENY" and headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin" and "access-control-allow-origin" not in headers


def test_the_report_on_disk_is_neither_written_nor_live(finished: Server) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.page.directory.rglob("*") if path.is_file()}
    ask(finished)
    after = {path: path.stat().st_mtime_ns for path in finished.page.directory.rglob("*") if path.is_file()}
    assert before == after and not (finished.page.directory / "report.html").exists()


def test_head_is_get_without_a_body(finished: Server) -> None:
    status, headers, body = ask(finished, method="HEAD")
    assert status == 200 and body == b"" and int(headers["content-length"]) == len(ask(finished)[2])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_can_be_written(finished: Server, method: str) -> None:
    assert ask(finished, method=method)[0] == 501


def test_it_listens_on_loopback_alone(finished: Server) -> None:
    assert finished.server_address[0] == "127.0.0.1"
    assert finished.socket.family == socket.AF_INET
    for address in {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}:
        if not str(address).startswith("127."):
            with pytest.raises(OSError), socket.create_connection((str(address), finished.server_address[1]), 2):
                pass


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", "localhost.evil:{port}"]
)
def test_another_name_for_this_machine_is_refused(finished: Server, host: str) -> None:
    assert ask(finished, host=host.format(port=finished.server_address[1]))[0] == 403


def test_localhost_is_one_of_its_names_and_another_sites_request_is_not_answered(finished: Server) -> None:
    port = finished.server_address[1]
    assert ask(finished, host=f"localhost:{port}")[0] == 200
    assert ask(finished, Sec_Fetch_Site="cross-site")[0] == 403
    assert ask(finished, Sec_Fetch_Site="same-origin")[0] == 200


def test_a_picture_of_the_run_is_shown(finished: Server) -> None:
    status, headers, body = ask(finished, "/images/1.png")
    assert status == 200 and headers["content-type"] == "image/png" and body.startswith(b"\x89PNG")
    assert headers["x-content-type-options"] == "nosniff" and "sandbox" in headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.png", "/images/../../secret.png", "/%2e%2e/secret.png", "/images/..%2f..%2fsecret.png",
        "//etc/passwd", "/run.json", "/answers/demo-vqa--base.jsonl", "/images/out.png", "/images/", "/images/%00.png",
        "/images/nothing.png", "/..\\secret.png", "/" + "a" * 5000 + ".png",
    ],
)  # fmt: skip
def test_nothing_beside_the_page_and_the_runs_pictures_can_be_read(finished: Server, path: str) -> None:
    status, _, body = ask(finished, path)
    assert status == 404 and b"secret" not in body and b"root:" not in body


def test_the_version_changes_when_the_run_moves_on(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", questions=4, images=1, status="running")
    with served(run) as server:
        first = json.loads(ask(server, "/version")[2])
        assert first["status"] == "running" and json.loads(ask(server, "/version")[2]) == first
        record = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(record | {"status": "done"}))
        second = json.loads(ask(server, "/version")[2])
        assert second["status"] == "done" and second["version"] != first["version"]
        assert second["version"].encode() in ask(server)[2]


def test_a_page_that_may_not_be_made_again_yet_is_not_told_as_old(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", questions=2, images=0, status="running")
    with served(run, share=1e-3) as server:
        first = ask(server)[2]
        version = json.loads(ask(server, "/version")[2])["version"]
        _finish(run)
        assert json.loads(ask(server, "/version")[2])["version"] == version and ask(server)[2] == first


def test_the_stage_in_training_shows_its_losses_so_far(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", questions=2, images=0, status="running")
    record = json.loads((run / "run.json").read_text())
    record["steps"].append({"name": "train-extra", "kind": "train", "subject": {"stage": "extra"}, "status": "running"})
    (run / "run.json").write_text(json.dumps(record))
    lines = [{"kind": "log", "step": "train-extra", "payload_step": at, "loss": 9.0 - at} for at in (0, 1, 2, 1)]
    lines[-1]["loss"] = 7.25  # told again after a kill
    lines.append({"kind": "evaluation", "step": "train-extra", "payload_step": 1, "held_out_loss": 8.125})
    with (run / "events.jsonl").open("w") as stream:
        stream.write("".join(json.dumps(line) + "\n" for line in [{"kind": "run_started"}, *lines]) + '{"kind": "lo')
    with served(run) as server:
        text = ask(server)[2].decode()
    assert "<b>extra</b>" in text and "loss 9.000 → 7.000" in text
    assert read_curve(run) == [9.0, 7.25, 7.0]
    assert "Measured within the stage" in text and "8.125" in text


def read_curve(run: Path) -> list[float]:
    followed = with_running_curves(open_run(run))
    return [point["loss"] for point in followed.record.steps[-1].details["curve"]]  # type: ignore[index, union-attr, misc]


def test_a_run_whose_record_is_gone_is_one_clear_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", questions=2, images=0)
    with served(run) as server:
        (run / "run.json").unlink()
        status, _, body = ask(server, "/version")
        assert status == 404 and b"no such run" in body


COMMAND = [sys.executable, "-c", "from infimed_core.cli import main; main()"]


def test_the_command_says_where_and_stops_on_interrupt(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", questions=2, images=0)
    process = subprocess.Popen(
        [*COMMAND, "serve", str(run), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        # a shell's background job, as tests may be, has its children ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = line.split()[0]
        assert address.startswith("http://127.0.0.1:") and "this machine only" in line
        connection = http.client.HTTPConnection(address.split("/")[2], timeout=60)
        connection.request("GET", "/version")
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 0 and "stopped" in process.stdout.read()
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_a_taken_port_and_a_missing_run_are_one_clear_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", questions=2, images=0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for arguments, told in (
            ([str(run), "--port", port], "give another with --port"),
            ([str(tmp_path)], "no such run"),
        ):
            ended = forked.finish([*COMMAND[1:], "serve", *arguments])
            assert ended.returncode == 2 and told in ended.stderr and "Traceback" not in ended.stderr


def document(folder: Path) -> dict[str, Any]:
    benchmarks = [{"use": "demo-vqa", "with": {"max_samples": 40}}, {"use": "demo-text", "with": {"max_samples": 40}}]
    model = {"vocab_size": 300, "layers": 1, "vision_layers": 1, "hidden_size": 32, "answer_max_visual_tokens": 1}
    return {
        "run": {"name": "going", "seed": 1, "directory": str(folder / "runs")},
        "model": {"use": "tiny-qwen3-vl", "with": model},
        "evaluation": {"benchmarks": benchmarks},
        "report": [{"use": "html"}],
    }


def test_a_run_in_progress_is_followed_from_its_first_step_to_its_last(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(document(tmp_path)))
    # Started in full: while it imports, the first page is asked for.
    process = subprocess.Popen(
        [sys.executable, "-c", "from infimed_core.cli import run_main; run_main()", str(file)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        directory = tmp_path / "runs" / "going"
        deadline = time.monotonic() + 600
        while not (directory / "run.json").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        seen: list[tuple[str, str]] = []
        with served(directory) as server:
            first = ask(server)[2].decode()
            assert "status running" in first and "No model has been graded" in first
            while time.monotonic() < deadline:
                facts = json.loads(ask(server, "/version")[2])
                if not seen or seen[-1][0] != facts["version"]:
                    seen.append((facts["version"], facts["status"]))
                if process.poll() is not None:
                    break
                time.sleep(0.05)
            last = ask(server)[2].decode()
            while "status done" not in last and time.monotonic() < deadline:  # a page is not written anew all the time
                time.sleep(0.2)
                last = ask(server)[2].decode()
        assert process.wait(300) == 0
    finally:
        process.kill()
        process.wait()
    assert len(seen) > 2 and seen[0][1] == "running"
    assert "status done" in last and "No model has been graded" not in last and "demo-text" in last


@pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)
def test_the_browser_turns_to_the_new_state_by_itself_and_waits_for_a_reader(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", questions=8, images=2, status="running", payload=PAYLOAD)
    with served(run) as server, open_browser(tmp_path / "browser", seconds=300) as page:
        page.resize(1280, 900)
        page.open(server.address)
        shown = page.evaluate("document.querySelector('.status').textContent")
        assert shown == "running" and page.problems == []
        _finish(run)
        page.wait("document.querySelector('.status')?.textContent === 'done' && document.documentElement.dataset.ready")
        assert page.evaluate("document.documentElement.dataset.hacked ?? 'clean'") == "clean"
        page.evaluate("document.querySelector('#list .row').click()")
        page.wait("document.querySelector('#live').textContent === 'live, run done'")
        _finish(run, name="renamed")
        page.wait("document.querySelector('#live button') !== null")
        assert page.evaluate("document.querySelectorAll('#list .detail').length") == 1
        page.evaluate("document.querySelector('#live button').click()")
        page.wait("document.querySelector('h1')?.textContent === 'renamed' && document.documentElement.dataset.ready")
        assert page.evaluate("document.querySelectorAll('#list .detail').length") == 1  # the address kept it open
        assert page.problems == []
        outside = [url for url in page.requests if not url.startswith((server.address, "data:"))]
        assert outside in ([], ["about:blank"])


def _finish(run: Path, **changes: Any) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"status": "done"} | changes))
