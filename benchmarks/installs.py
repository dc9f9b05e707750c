"""Sizes of installations: each extra in a fresh environment, which then does the job that the extra is for.

Needs an index of packages. Torch is CUDA's or the CPU's, as the index gives it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from common import Results, main, table

ROOT = Path(__file__).parent.parent
MOST_MEGABYTES = 350
ABSENT = {"": ("torch", "pyarrow", "cv2"), "score": ("torch",), "train": ()}
"""What must not be in the environment of each extra ("" is ``infimed`` alone)."""


class Server(BaseHTTPRequestHandler):
    """Says B to whatever it is asked."""

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": "small"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send(
            {"choices": [{"index": 0, "message": {"role": "assistant", "content": "B"}, "finish_reason": "stop"}]}
        )

    def _send(self, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    """The address of a server on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()


def data_of(folder: Path) -> dict[str, Any]:
    """A data section of pictures beside the run file."""
    from infimed_core.testing import make_image, make_sample

    rows = [make_sample(f"s{n}", f"Which plane is number {n}?", images=[make_image(64, 64, seed=n)]) for n in range(8)]
    (folder / "samples.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows))
    return {"sources": [{"use": "jsonl", "with": {"path": "samples.jsonl"}}], "executor": {"use": "serial"}}


def server_job(folder: Path, address: str) -> dict[str, Any]:
    """Questions with a picture to a model behind a server."""
    reader = data_of(folder)["sources"][0]
    return {
        "model": {"use": "openai-compatible", "with": {"base_url": address, "model": "small"}},
        "evaluation": {"benchmarks": [{"use": "questions", "with": {"reader": reader}}]},
        "report": [{"use": "terminal"}],
    }


def score_job(folder: Path, address: str) -> dict[str, Any]:
    """Scoring and selection."""
    select = {"use": "top-share", "with": {"keep": 0.5}}
    return {"data": data_of(folder), "quality": {"scorers": [{"use": "five-dimension"}], "select": select}}


def train_job(folder: Path, address: str) -> dict[str, Any]:
    """A short training of a small model."""
    return {
        "data": data_of(folder),
        "model": {"use": "tiny-qwen3-vl", "with": {"vocab_size": 400, "layers": 1, "vision_layers": 1}},
        "packing": {"use": "best-fit", "with": {"row_tokens": 256}},
        "training": {"use": "staged", "with": {"stages": [{"name": "one", "num_steps": 2}]}},
    }


JOBS: dict[str, Callable[[Path, str], dict[str, Any]]] = {"": server_job, "score": score_job, "train": train_job}


def measured(extra: str, folder: Path) -> dict[str, Any]:
    """Install, weigh and use one extra."""
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    wanted = f"{ROOT}[{extra}]" if extra else str(ROOT)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q", "-c", ROOT / "constraints.txt", wanted]
    subprocess.run(pip, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    num_bytes = sum(path.stat().st_size for path in Path(site).rglob("*") if path.is_file() and not path.is_symlink())
    found = [name for name in ABSENT[extra] if (Path(site) / name).exists()]
    with serving() as address:
        document = {"run": {"name": "job"}, **JOBS[extra](folder, address)}
        (folder / "run.yaml").write_text(json.dumps(document))
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)
        ran = subprocess.run(
            [folder / "env" / "bin" / "infimed-run", "run.yaml"],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if ran.returncode:
        print(ran.stderr[-2000:], file=sys.stderr)
    return {"megabytes": num_bytes / 1e6, "not_wanted": found, "exit_code": ran.returncode}


def measure(results: Results, arguments: argparse.Namespace) -> None:
    rows = []
    for extra in arguments.extras if arguments.extras is not None else JOBS:
        with tempfile.TemporaryDirectory() as name:
            found = measured(extra, Path(name))
        title = f"infimed[{extra}]" if extra else "infimed"
        rows.append([title, found["megabytes"], found["exit_code"]])
        results.details[title] = found
        results.target(f"{title} does its job (exit code)", found["exit_code"], "== 0")
        results.target(f"{title}: packages that it does not need", len(found["not_wanted"]), "== 0")
        if not extra:
            results.target("infimed alone, for evaluation of servers: MB", found["megabytes"], f"<= {MOST_MEGABYTES}")
    table(["installed", "MB", "exit code of its job"], rows)


def options(parser: argparse.ArgumentParser) -> None:
    """The script's own options."""
    parser.add_argument("--extras", nargs="*", help="'' (infimed alone), score, train; all by default")


if __name__ == "__main__":
    main("installs", measure, options)
