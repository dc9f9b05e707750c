"""Reading, scoring, selecting: no row lost, a poisoned shard stops nothing, killed anywhere equal in the end."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any, ClassVar

import forked
import numpy as np
import pytest

from infimed_core import ComponentError, ConfigError, DataError, InfimedError, MediaLoader, Sample, Score, Scorer, Turn
from infimed_core.api.reporting import RunRecord
from infimed_core.curate.score_shards import ScoringJob
from infimed_core.curate.scoring import ScoreTask, scored
from infimed_core.plugins import load_plugins
from infimed_core.store.broadcast import Broadcast
from infimed_core.store.dataset import Dataset, write_samples
from infimed_core.store.scores import SUCCESS, ScoreTable


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def picture(seed: int = 0, form: str = "PNG", **options: Any) -> bytes:
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(60, 200, (64, 64)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def not_a_number() -> bytes:
    from PIL import Image

    pixels = np.full((64, 64), 0.5, dtype=np.float32)
    pixels[::2] = np.nan
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "TIFF")
    return file.getvalue()


def row(identity: str, text: str, data: bytes | None = None) -> dict[str, Any]:
    media = [] if data is None else [{"data": base64.b64encode(data).decode()}]
    return {
        "id": identity,
        "turns": [
            {"role": "user", "content": [*([0] if media else []), "Describe the image."]},
            {"role": "assistant", "content": [text]},
        ],
        "media": media,
        "tags": {"modality": "MR", "task_type": "captioning"},
    }


CAPTION = "Axial MRI of the brain shows a small lesion in the left frontal lobe."


def write_poisoned(folder: Path) -> int:
    """A shard in which every way of being bad occurs, and a good one; return how many rows there are."""
    good = picture()
    poison = [
        row("corrupt", CAPTION, good[:40] + bytes(60) + good[100:]),
        row("no-picture", CAPTION, b"this is no picture"),
        row("cut", CAPTION, picture(form="JPEG")[:900]),
        row("nan", CAPTION, not_a_number()),
        row("bomb", CAPTION, png_header(10_000, 10_000)),
        row("huge-caption", "lesion " * 150_000, good),
        row("controls", "Lesion\x00\x01\x1f in the brain.\u202e\ufffd", good),
        row("surrogate", "Brain lesion.", good),
        row("fine", CAPTION, good),
        row("fine", CAPTION, good),
    ]
    lines = [json.dumps(body).encode() for body in poison]
    lines += [
        '{"id": "latin", "turns": "Läsion"}'.encode("latin-1"),
        "{}".encode("utf-16"),
        b'{"id": "nan", "x": NaN',
        b"]",
    ]
    lines[7] = lines[7].replace(b"Brain lesion.", b"Brain \\ud800 lesion.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "0-poison.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    fine = [row(f"good-{number}", CAPTION, picture(number)) for number in range(20)]
    (folder / "1-good.jsonl").write_text("\n".join(map(json.dumps, fine)) + "\n")
    # UTF-16 holds a newline byte only where a line ends, so that every line is one row
    return len(lines) + len(fine)


def document(folder: Path, data: Path, **select: Any) -> dict[str, Any]:
    chosen = {"use": "top-share", "with": {"keep": 0.5, **select}}
    return {
        "run": {"name": "curate", "directory": str(folder / "runs")},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(data / "*.jsonl")}}], "executor": {"use": "serial"}},
        "quality": {"scorers": [{"use": "five-dimension"}], "select": chosen},
    }


def run(body: dict[str, Any], folder: Path) -> RunRecord:
    from infimed_core.run import run as run_plan
    from infimed_core.runfile.loading import load_run_file

    file = folder / "run.yaml"
    file.write_text(json.dumps(body))
    registry = load_plugins()
    return run_plan(load_run_file(file, registry), registry, lambda event: None)


def steps(record: RunRecord) -> dict[str, Any]:
    return {step.name: step for step in record.steps}


def test_a_poisoned_shard_loses_no_row_and_stops_nothing(tmp_path: Path) -> None:
    num_rows = write_poisoned(tmp_path / "data")
    record = run(document(tmp_path, tmp_path / "data", hard_minimums=False), tmp_path)
    found = steps(record)
    read, score, select = found["read"], found["score"], found["select"]
    assert record.status == "done"
    assert read.num_in == num_rows == read.num_out + sum(read.dropped.values()), read
    assert read.dropped["duplicate_id"] == 1 and read.dropped["bad_row"] >= 4
    faults = (tmp_path / "runs" / "curate" / read.artifact / "faults.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(faults) == sum(read.dropped.values()) and all(json.loads(line)["where"] for line in faults)
    assert score.num_in == score.num_out == read.num_out
    folder = tmp_path / "runs" / "curate"
    table = dict(ScoreTable(folder / score.artifact))
    assert len(table) == read.num_out
    errors = {name: table[name].reasons[0] for name, each in table.items() if each.status == "error"}
    wanted = {"no-picture": "image_corrupt", "cut": "image_truncated", "bomb": "image_too_large"}
    assert wanted.items() <= errors.items() and {"corrupt", "nan"} <= set(errors), errors
    assert table["fine"].status == table["huge-caption"].status == table["good-0"].status == "ok"
    assert table["huge-caption"].parts["completeness"] < 0.5 < table["fine"].parts["completeness"]
    success = json.loads((folder / score.artifact / SUCCESS).read_text())
    assert success["num_rows"] == read.num_out and success["digest"] == score.details["digest"]
    assert select.num_in == select.num_out + sum(select.dropped.values()) == read.num_out
    lines = (folder / select.artifact / "selection.jsonl").read_text(encoding="utf-8").strip().split("\n")
    verdicts = [json.loads(line) for line in lines]
    assert [verdict["id"] for verdict in verdicts] == list(table)
    assert all(verdict["kept"] or verdict["reasons"] for verdict in verdicts)
    assert sum(score.details["status"].values()) == read.num_out


def test_another_selection_does_not_score_again(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = [row(f"r{number}", CAPTION, picture(number)) for number in range(4)]
    (tmp_path / "data" / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    first = steps(run(document(tmp_path, tmp_path / "data"), tmp_path))
    body = document(tmp_path, tmp_path / "data")
    body["quality"]["select"] = {"use": "threshold", "with": {"minimum": 0.9}}
    second = steps(run(body, tmp_path))
    assert (second["score"].status, second["select"].status) == ("reused", "done")
    assert second["score"].details == first["score"].details


def test_a_file_added_to_a_source_costs_its_own_rows_and_a_changed_one_no_others(tmp_path: Path) -> None:
    def write(name: str, num: int, text: str = CAPTION) -> None:
        rows = [row(f"{name}-{number}", f"{text} Slice {number}.") for number in range(num)]
        (tmp_path / "data" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")

    def score(folder: str) -> Any:
        return steps(run(document(tmp_path / folder, tmp_path / "data"), tmp_path))["score"]

    (tmp_path / "data").mkdir()
    write("a", 90)
    write("c", 70)
    first = score("grown")
    assert (first.num_out, first.details["num_scored"]) == (160, 160)
    write("b", 80)  # between the two
    grown = score("grown")
    assert (grown.num_out, grown.details["num_scored"]) == (240, 80)
    assert grown.details == {**score("fresh").details, "num_scored": 80}
    write("c", 70, "Chest radiograph without effusion.")
    assert score("grown").details["num_scored"] == 70
    (tmp_path / "data" / "b.jsonl").unlink()
    less = score("grown")
    assert (less.num_out, less.details["num_scored"]) == (160, 0)
    write("c", 70)
    again = score("grown")
    assert (again.status, again.details) == ("reused", first.details)


def test_a_selector_uses_the_dimensions_of_every_scorer_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = [row("fine", CAPTION), row("repeated", "lesion " * 60)]
    (tmp_path / "data" / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    minima = {"five-dimension-2.completeness": 0.5}
    body = document(tmp_path, tmp_path / "data")
    body["quality"]["scorers"] = [{"use": "five-dimension"}, {"use": "five-dimension", "with": {"profile": "default"}}]
    body["quality"]["select"] = {"use": "threshold", "with": {"minima": minima, "hard_minimums": False}}
    found = steps(run(body, tmp_path))
    assert found["score"].num_out == found["score-five-dimension-2"].num_out
    assert found["select"].details["scorers"] == ["five-dimension", "five-dimension-2"]
    lines = (tmp_path / "runs" / "curate" / found["select"].artifact / "selection.jsonl").read_text(encoding="utf-8")
    verdicts = {verdict["id"]: verdict for verdict in map(json.loads, lines.splitlines())}
    assert verdicts["fine"]["kept"] and "below_minimum" in verdicts["repeated"]["reasons"]
    body["quality"]["select"]["with"]["minima"] = {"completness": 0.5}
    with pytest.raises(
        InfimedError,
        match=r"minima\.completness: no scorer .* did you mean 'completeness'\? there are: .*dimension-2\.alignment",
    ):
        run(body, tmp_path)


@pytest.mark.slow
def test_a_run_killed_while_it_reads_or_scores_ends_with_equal_digests(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for shard in range(3):
        rows = [row(f"{shard}-{n}", f"{CAPTION} Slice {n}.", picture(n) if n % 5 == 0 else None) for n in range(450)]
        (data / f"{shard}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        body = document(tmp_path / name, data)
        body["data"]["executor"] = {"use": "processes", "with": {"num_processes": 2}}
        (tmp_path / name / "run.yaml").write_text(json.dumps(body))

    def command(name: str) -> list[str]:
        return [sys.executable, "-m", "infimed_core", str(tmp_path / name / "run.yaml")]

    def artifacts(name: str) -> Path:
        return tmp_path / name / "runs" / "curate" / "artifacts"

    assert forked.finish(command("whole")[1:]).returncode == 0
    num_kills = 0
    for pattern in ("read-*/part-*.keys", "score-*/part-000000000-*.parquet", "score-*/part-000000450-*.parquet"):
        process = subprocess.Popen(
            command("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        limit = time.monotonic() + 600
        while process.poll() is None and time.monotonic() < limit:
            if forked.files_below(artifacts("killed"), pattern):
                os.killpg(process.pid, signal.SIGKILL)
                num_kills += 1
                break
            time.sleep(0.005)
        process.wait()
    assert num_kills >= 2, "no kill came in time, so nothing was tested"
    done = forked.finish(command("killed")[1:])
    assert done.returncode == 0, done.stderr
    digests = []
    for name in ("whole", "killed"):
        (success,) = artifacts(name).glob(f"score-*/{SUCCESS}")
        (selection,) = artifacts(name).glob("select-*/selection.jsonl")
        body = json.loads(success.read_text())
        digests.append((body["num_rows"], body["digest"], selection.read_bytes()))
        assert not list(artifacts(name).glob("*/.*.tmp")), "what a killed process left is swept up"
    assert digests[0] == digests[1] and digests[0][0] == 1350


class Picky(Scorer):
    """Fails on some samples."""

    dimensions: ClassVar[tuple[str, ...]] = ("truth",)

    def score(self, samples: Any, media: MediaLoader) -> list[Score]:
        if any("bad" in sample.id for sample in samples):
            raise RuntimeError("cannot\nbe scored")
        return [Score(value=0.5, parts={"truth": 0.5}) for _ in samples]


class Unset(Picky):
    """Cannot work at all."""

    def score(self, samples: Any, media: MediaLoader) -> list[Score]:
        raise ConfigError(["pip install something"])


def made(*ids: str) -> list[Sample]:
    turns = (Turn(role="user", content=("Why?",)), Turn(role="assistant", content=("So.",)))
    return [Sample(id=identity, turns=turns) for identity in ids]


def test_a_scorer_that_raises_costs_the_rows_it_raises_on_and_no_other(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples.jsonl", made("a", "bad-1", "b", "bad-2"))
    setting = ScoringJob(Picky(), Dataset(tmp_path / "samples.jsonl"), MediaLoader({}), tmp_path / "scores", "")
    task = ScoreTask(Broadcast(setting), 0, 4)
    assert (task().num_scored, task().num_scored) == (4, 0)
    found = dict(ScoreTable(tmp_path / "scores"))
    assert [score.status for score in found.values()] == ["ok", "error", "ok", "error"]
    assert found["bad-1"].reasons == ("scorer_failed",) and found["bad-1"].note == "RuntimeError: cannot"


def test_a_scorer_without_its_package_stops_the_run_and_one_that_miscounts_too() -> None:
    with pytest.raises(InfimedError, match="pip install"):
        scored(Unset(), lambda samples: Unset().score(samples, MediaLoader({})), made("a", "b"))
    with pytest.raises(ComponentError, match=r"Unset.score .* 1 scores for 2 samples"):
        scored(Unset(), lambda samples: [Score()], made("a", "b"))

    def missing(samples: list[Sample]) -> list[Score]:
        raise DataError("missing_file", "x.png is gone")

    assert scored(Unset(), missing, made("a"))[0].note == "DataError: x.png is gone"
