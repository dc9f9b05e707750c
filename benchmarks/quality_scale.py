"""Scoring at scale: memory as rows grow, processes, kills, an added and a poisoned shard, and budgets of 188,000."""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import Results, main, table

from infimed_core.records import open_run
from infimed_plugins.quality.budget import CELL, cells, greedy_gains

CAPTION = "Axial MRI of the brain, slice {}, shows a small lesion in the left frontal lobe without oedema."


def thumbnail(seed: int) -> bytes:
    """A smooth grey PNG of 64 pixels a side."""
    from PIL import Image

    chance = np.random.default_rng(seed)
    smooth = np.kron(chance.normal(size=(8, 8)), np.ones((8, 8))) * 30 + 110
    file = io.BytesIO()
    Image.fromarray(np.clip(smooth + chance.normal(0, 3, (64, 64)), 0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_rows(folder: Path, num_rows: int, num_shards: int = 4) -> None:
    """Rows of a caption and a thumbnail, in JSON lines; 200 thumbnails in turn."""
    folder.mkdir(parents=True)
    for number in range(200):
        (folder / f"{number}.png").write_bytes(thumbnail(number))
    for shard in range(num_shards):
        with (folder / f"shard-{shard}.jsonl").open("w") as stream:
            for number in range(shard * num_rows // num_shards, (shard + 1) * num_rows // num_shards):
                row = {
                    "id": f"row-{number}",
                    "turns": [
                        {"role": "user", "content": [0, "Describe the image."]},
                        {"role": "assistant", "content": [CAPTION.format(number)]},
                    ],
                    "media": [{"uri": f"{number % 200}.png"}],
                    "tags": {"modality": "MR", "study": f"study-{number // 10}", "task_type": "captioning"},
                }
                stream.write(json.dumps(row) + "\n")


def run_file(folder: Path, name: str, data: Path, num_processes: int) -> Path:
    """Read, score and select the rows of a folder."""
    file = folder / f"{name}.yaml"
    executor = {"use": "processes", "with": {"num_processes": num_processes}}
    body = {
        "run": {"name": name, "directory": str(folder / "runs")},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(data / "*.jsonl")}}], "executor": executor},
        "quality": {
            "scorers": [{"use": "five-dimension"}],
            "select": {"use": "top-share", "with": {"keep": 0.5, "hard_minimums": False}},
        },
    }
    file.write_text(json.dumps(body))
    return file


class Watched:
    """A run in a process group of its own, its memory watched."""

    def __init__(self, file: Path) -> None:
        self.directory = Path(json.loads(file.read_text())["run"]["directory"]) / file.stem
        self.total = 0
        self.peaks: dict[str, int] = {}
        self.main_seconds = 0.0
        self.worker_seconds = 0.0
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(
            [sys.executable, "-m", "infimed_core", str(file)], stdout=quiet, stderr=quiet, start_new_session=True
        )

    def wait(self) -> float:
        """Wait for the end; return the peak resident size of its largest process in MiB."""
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        if self.process.returncode:
            raise SystemExit(f"the run in {self.directory} failed; see {self.directory}/error.log")
        watcher.join()
        self.worker_seconds = usage.ru_utime + usage.ru_stime - self.main_seconds
        # Not the kernel's ru_maxrss: a child's begins with what its parent, this script, had reached before.
        return max(self.peaks.values()) / 1024

    def kill(self) -> None:
        """End every process of the run at once."""
        with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _watch(self) -> None:
        """Every 0.2 s the sum of resident sizes of all its processes (pages that they share count in each), of which
        the largest is kept, the peak of each by the kernel in KiB (VmHWM, which begins anew with each program), and
        the processor's seconds that the main process has used.
        """
        while self.process.returncode is None:
            total = 0
            with contextlib.suppress(OSError, IndexError):
                fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
                self.main_seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    if os.getpgid(int(entry.name)) == self.process.pid:
                        total += int((entry / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
                        status = (entry / "status").read_text()
                        self.peaks[entry.name] = int(status.partition("VmHWM:")[2].split()[0])
                except (OSError, ValueError, IndexError):
                    continue
            self.total = max(self.total, total >> 20)
            time.sleep(0.2)

    def step(self, name: str) -> dict[str, Any]:
        """A step of the record."""
        return next(step for step in open_run(self.directory).record.steps if step.name == name).model_dump(mode="json")


def memory(results: Results, folder: Path, few: int, many: int) -> None:
    """Peak memory of scoring and selecting few and many rows."""
    rows, peaks = [], []
    for num_rows in (few, many):
        write_rows(folder / str(num_rows), num_rows)
        watched = Watched(run_file(folder, f"rows-{num_rows}", folder / str(num_rows), 2))
        peaks.append(watched.wait())
        score = watched.step("score")
        if score["num_out"] != num_rows:
            raise SystemExit(f"{score['num_out']} of {num_rows} rows were scored")
        seconds = [watched.step(name)["seconds"] for name in ("read", "score", "select")]
        rows.append([num_rows, round(peaks[-1], 1), watched.total, *seconds])
        shutil.rmtree(folder / str(num_rows))
    table(["rows", "peak MiB, largest process", "peak MiB, all", "read s", "score s", "select s"], rows)
    results.details["memory"] = rows
    results.target(f"peak memory of {many} rows over that of {few}", peaks[1] / peaks[0], "<= 1.3")


def processes(results: Results, folder: Path, num_rows: int) -> None:
    """Seconds of the scoring step with one and with two processes, the better of two runs each, in turns."""
    write_rows(folder / "scaling", num_rows)
    best: dict[int, Watched] = {}
    digests = set()
    for turn in range(2):
        for num in (1, 2):
            watched = Watched(run_file(folder, f"scaling-{num}-{turn}", folder / "scaling", num))
            watched.wait()
            digests.add(watched.step("score")["details"]["digest"])
            if num not in best or watched.step("score")["seconds"] < best[num].step("score")["seconds"]:
                best[num] = watched
    seconds = {
        num: {name: run.step(name)["seconds"] for name in ("read", "score", "select")} for num, run in best.items()
    }
    columns = ["processes", "read s", "score s", "select s", "CPU s, main", "CPU s, workers"]
    used = {num: (round(run.main_seconds, 1), round(run.worker_seconds, 1)) for num, run in best.items()}
    table(columns, [[num, *seconds[num].values(), *used[num]] for num in best])
    results.details["scaling"] = {
        "rows": num_rows,
        "seconds": seconds,
        "cpu_seconds": {num: dict(zip(("main", "workers"), pair, strict=True)) for num, pair in used.items()},
    }
    alone = used[1][0] / (used[2][0] + used[2][1] / 2)
    results.details["scaling"]["whole_command_by_cpu_seconds"] = round(alone, 3)
    speed = seconds[1]["score"] / seconds[2]["score"]
    results.target("scoring speed of two processes over one", speed, ">= 1.7")
    results.target("score digests of one and two processes", len(digests), "== 1")


def shards(results: Results, folder: Path, num_rows: int) -> None:
    """A shard added between those of a finished run: which rows are scored."""
    write_rows(folder / "grown", num_rows)
    write_rows(folder / "more", num_rows * 5 // 4, num_shards=5)
    file = run_file(folder, "grown", folder / "grown", 2)
    Watched(file).wait()
    shutil.copy(folder / "more" / "shard-4.jsonl", folder / "grown" / "shard-1b.jsonl")
    grown = Watched(file)
    grown.wait()
    score = grown.step("score")
    added = num_rows * 5 // 4 - num_rows
    results.details["shards"] = {"rows": num_rows, "added": added, "scored": score["details"]["num_scored"]}
    results.target("rows scored again for an added shard", score["details"]["num_scored"] - added, "== 0")
    results.target("rows missing after a shard was added", num_rows + added - score["num_out"], "== 0")


def kills(results: Results, folder: Path, num_rows: int, num_kills: int) -> None:
    """A run killed again and again at random moments, and one that was not."""
    write_rows(folder / "killed", num_rows)
    whole = Watched(run_file(folder, "whole", folder / "killed", 2))
    started = time.perf_counter()
    whole.wait()
    seconds = time.perf_counter() - started
    chance = random.Random(0)
    killed = 0
    for _ in range(num_kills):
        watched = Watched(run_file(folder, "again", folder / "killed", 2))
        time.sleep(chance.uniform(0.1, 0.5) * seconds)
        killed += watched.process.poll() is None
        watched.kill()
    last = Watched(run_file(folder, "again", folder / "killed", 2))
    last.wait()
    equal = whole.step("score")["details"]["digest"] == last.step("score")["details"]["digest"]
    selections = [next(run.directory.glob("artifacts/select-*/selection.jsonl")).read_bytes() for run in (whole, last)]
    results.details["killed"] = {"rows": num_rows, "kills": killed}
    results.target(f"equal scores and selection after {killed} kills", equal and len(set(selections)) == 1, "== true")


def poison(results: Results, folder: Path) -> None:
    """A shard of damaged rows between two good ones."""
    write_rows(folder / "poison", 400, 2)
    good = thumbnail(0)
    bad = [good[:60] + bytes(80) + good[140:], good[: len(good) // 2], b"no picture", b"", bytes(10_000)]
    header = bytearray(good)
    header[16:24] = (10_000).to_bytes(4, "big") * 2
    bad.append(bytes(header))  # says that it has 100 megapixels
    rows = []
    for number, data in enumerate(bad * 20):
        body: dict[str, Any] = {"id": f"bad-{number}", "media": [{"data": base64.b64encode(data).decode()}]}
        caption = "lesion " * 150_000 if number % 30 == 0 else CAPTION.format(number)
        body["turns"] = [{"role": "user", "content": [0]}, {"role": "assistant", "content": [caption]}]
        rows.append(json.dumps(body).encode())
    rows += [
        '{"id": "x", "turns": "Läsion"}'.encode("latin-1"),
        b'{"id": NaN, "x": NaN}',
        b"\xff\xfe{\x00}\x00",
        b"[[[",
    ]
    (folder / "poison" / "shard-0b.jsonl").write_bytes(b"\n".join(rows) + b"\n")
    watched = Watched(run_file(folder, "poison", folder / "poison", 2))
    watched.wait()
    read, score, select = (watched.step(name) for name in ("read", "score", "select"))
    results.details["poisoned"] = {"read": read["dropped"], "score": score["details"]["status"]}
    lost = 400 + len(rows) - read["num_in"]
    lost += read["num_in"] - read["num_out"] - sum(read["dropped"].values())
    lost += read["num_out"] - score["num_out"]
    lost += score["num_out"] - select["num_out"] - sum(select["dropped"].values())
    results.target("rows lost to a poisoned shard", lost, "== 0")


def budget(results: Results, num_candidates: int, num_wanted: int, width: int) -> None:
    """Seconds to choose so many of so many random embeddings, good and unlike one another, on one core."""
    chance = np.random.default_rng(0)
    features = chance.normal(size=(num_candidates, width)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    values = np.sort(chance.random(num_candidates))[::-1].copy()
    gains = np.empty(num_candidates)
    started = time.perf_counter()
    for cell in cells(features, CELL):
        gains[cell] = greedy_gains(features[cell], values[cell], 1.0, 2.0)
    taken = np.argsort(-gains, kind="stable")[:num_wanted]
    seconds = time.perf_counter() - started
    results.details["budget"] = {"candidates": num_candidates, "chosen": len(set(taken.tolist())), "width": width}
    results.target(f"seconds to choose {num_wanted:,} of {num_candidates:,}", seconds, "<= 300")


def measure(results: Results, arguments: argparse.Namespace) -> None:
    """Everything, or the parts that ``--only`` names."""
    folder = Path(tempfile.mkdtemp(prefix="quality-scale-"))
    wanted = arguments.only or ["budget", "poison", "shards", "kills", "processes", "memory"]
    try:
        if "budget" in wanted:
            budget(results, 500_000, 188_000, 256)
        if "poison" in wanted:
            poison(results, folder)
        if "shards" in wanted:
            shards(results, folder, arguments.rows // 10)
        if "kills" in wanted:
            kills(results, folder, arguments.rows // 10, arguments.kills)
        if "processes" in wanted:
            processes(results, folder, arguments.rows // 2)
        if "memory" in wanted:
            memory(results, folder, arguments.rows, arguments.rows * 10)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows", type=int, default=20_000, help="rows of the smaller data set; the larger has ten times"
    )
    parser.add_argument("--kills", type=int, default=5, help="how often a run is killed")
    parser.add_argument("--only", nargs="*", help="some of: budget, poison, shards, kills, processes, memory")


if __name__ == "__main__":
    main("quality_scale", measure, arguments)
