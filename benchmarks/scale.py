"""Rows at scale: memory of the main process and seconds a row, from the reader to the plan, as rows of text grow.

    python benchmarks/scale.py --json OUT.json [--rows 10000 100000 1000000]

Each size is a process of its own. It reads JSON lines, scores every row with a scorer that costs next to nothing,
selects four fifths, makes the index with a real tokenizer and plans one epoch of packed rows. Nothing is trained.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from common import Results, main, table

from infimed_core import MediaLoader, Sample, Score, Scorer, hookimpl

WORDS = ("left", "right", "lobe", "lung", "small", "nodule", "effusion", "no", "evidence", "of", "opacity", "heart")
TOKENS = 4096
SMALLEST, MIDDLE, LARGEST = 10_000, 100_000, 1_000_000


class HashedScore(Scorer):
    """A value from a hash of the id: the cost of a row without the cost of a scorer."""

    dimensions: ClassVar[tuple[str, ...]] = ("luck",)

    def score(self, samples: Sequence[Sample], media: MediaLoader) -> list[Score]:
        values = [hashlib.blake2b(sample.id.encode(), digest_size=1).digest()[0] / 255 for sample in samples]
        return [Score(value=value, parts={"luck": value}) for value in values]


@hookimpl
def infimed_scorers() -> dict[str, type[Scorer]]:
    """The scorer ``hashed``."""
    return {"hashed": HashedScore}


def rows(num_rows: int) -> Iterator[str]:
    """Samples of text as JSON lines: a question and an answer of three to forty words."""
    for number in range(num_rows):
        seed = hashlib.blake2b(str(number).encode(), digest_size=8).digest()
        words = [WORDS[byte % len(WORDS)] for byte in seed * 5][: 3 + seed[0] % 38]
        turns = [
            {"role": "user", "content": [f"What does report {number} say?"]},
            {"role": "assistant", "content": [" ".join(words)]},
        ]
        tags = {"modality": "text", "task_type": ("report", "question")[number % 2], "language": "en"}
        yield json.dumps({"id": f"row-{number}", "turns": turns, "tags": tags}) + "\n"


def document(folder: Path, data: Path, checkpoint: Path | None) -> dict[str, Any]:
    """The run file, whose stage is planned and not trained."""
    model = {"use": "tiny-qwen3-vl"} if checkpoint is None else {"use": "transformers"}
    if checkpoint is not None:
        model["with"] = {"checkpoint": str(checkpoint)}  # type: ignore[assignment]
    return {
        "run": {"name": "scale", "directory": str(folder / "runs")},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(data)}}], "executor": {"use": "processes"}},
        "quality": {"scorers": [{"use": "hashed"}], "select": {"use": "top-share", "with": {"keep": 0.8}}},
        "model": model,
        "packing": {"use": "best-fit", "with": {"row_tokens": TOKENS}},
        "resolution": {"use": "native"},
        "training": {"use": "staged", "with": {"stages": [{"name": "only", "learning_rate": 1e-3}]}},
    }


def measured(folder: Path, num_rows: int, checkpoint: Path | None) -> dict[str, Any]:
    """Seconds of each step and the peak size of this process; the way of ``infimed_core.run`` up to the plan."""
    import numpy as np

    from infimed_core.curate.curation import curate
    from infimed_core.distributed.ranks import Ranks
    from infimed_core.models.checkpoints import prepare_model
    from infimed_core.models.model_pool import RunModelPool
    from infimed_core.plan.indexing import index_samples
    from infimed_core.plugins import load_plugins
    from infimed_core.runfile.loading import load_run_file
    from infimed_core.store.record import RunDirectory, new_record
    from infimed_core.store.steps import RunState
    from infimed_core.train.stage_planning import plan_inputs, plan_rows

    data = folder / f"rows-{num_rows}.jsonl"
    with data.open("w", encoding="utf-8") as stream:
        stream.writelines(rows(num_rows))
    file = folder / "run.yaml"
    file.write_text(json.dumps(document(folder, data, checkpoint)), encoding="utf-8")
    own = metadata.EntryPoint("scale", "scale", "infimed")
    registry = load_plugins([*metadata.entry_points(group="infimed"), own])
    plan = load_run_file(file, registry)
    record = new_record("scale", 0, plan.as_json(), ())
    directory, media = RunDirectory(folder / "runs" / "scale", record), registry.media_loader()
    pool = RunModelPool(plan, directory.path, media)
    state = RunState(plan, registry, directory, lambda event: None, media, pool, ranks=Ranks())

    seconds, size = {}, {}
    started = time.perf_counter()

    def done(step: str) -> None:
        nonlocal started
        seconds[step], started = time.perf_counter() - started, time.perf_counter()
        size[step] = peak_bytes()

    curated = curate(state)
    done("read, score, select")
    base = prepare_model(state, curated.texts, curated.digest)
    done("model")
    index, digest = index_samples(state, curated.dataset, curated.dataset_digest, base)
    done("index")
    stage = plan.component("training").stage_list[0]
    assert base.directory is not None
    inputs = plan_inputs(state, index, digest, stage, curated.kept, base.directory, 0, (True, "text alone"))
    plan_rows(state, curated, stage, inputs, np.zeros(num_rows, dtype=bool))
    done("plan")
    return {"rows": num_rows, "seconds": seconds, "peak_bytes": size, "checkpoint": str(base.directory)}


def peak_bytes() -> int:
    """The largest resident size of this process so far (VmHWM)."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert match is not None
    return int(match.group(1)) * 1024


def in_a_process(folder: Path, num_rows: int, checkpoint: str | None) -> dict[str, Any]:
    """``measured`` in a new process."""
    place = folder / str(num_rows)
    place.mkdir()
    command = [sys.executable, __file__, "--child", str(place), "--rows", str(num_rows)]
    command += ["--checkpoint", checkpoint] if checkpoint else []
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(finished.stderr)
    found: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return found


def measure(results: Results, parsed: argparse.Namespace) -> None:
    """All sizes, smallest first; the model is the one that a small run makes."""
    sizes = sorted(parsed.rows)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        checkpoint = in_a_process(folder, 1_000, None)["checkpoint"]
        found = [in_a_process(folder, num_rows, checkpoint) for num_rows in sizes]
    lines = []
    for one in found:
        extra = one["peak_bytes"]["plan"] - found[0]["peak_bytes"]["plan"]
        one["bytes_a_row"] = extra / (one["rows"] - sizes[0]) if one["rows"] > sizes[0] else 0.0
        one["seconds_a_row"] = sum(one["seconds"].values()) / one["rows"]
        mebibytes = one["peak_bytes"]["plan"] / 2**20
        lines.append([one["rows"], mebibytes, one["bytes_a_row"], 1e6 * one["seconds_a_row"]])
    table(["rows", "peak MiB", "bytes a row over the smallest", "microseconds a row"], lines)
    results.details["sizes"] = found
    largest = found[-1]
    results.target(f"bytes a row, {largest['rows']:,} over {sizes[0]:,} rows", largest["bytes_a_row"], "<= 150")
    if len(found) > 2:
        growth = largest["seconds_a_row"] / found[-2]["seconds_a_row"]
        results.target(f"seconds a row, {largest['rows']:,} over {found[-2]['rows']:,} rows", growth, "<= 1.15")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The sizes; the rest is for the processes that this script starts."""
    parser.add_argument("--rows", type=int, nargs="+", default=[SMALLEST, MIDDLE, LARGEST])
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)


if __name__ == "__main__":
    if "--child" in sys.argv:
        parser = argparse.ArgumentParser()
        arguments(parser)
        given = parser.parse_args()
        print(json.dumps(measured(given.child, given.rows[0], given.checkpoint)))
    else:
        main("scale", measure, arguments)
