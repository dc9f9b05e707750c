"""Operating InfiMed: every point as a case with how much was tried and held, and a queue that takes machines away.

The cases are tests of the repository, run here and counted; those of locks, signals, kills and commands use processes
of their own. The queue kills a training every so many seconds and starts it again until it has ended.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import kills
from common import Results, main, table
from robustness import run_cases

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import forked

MOST_ATTEMPTS, PAUSE = 60, 0.05
STEPS_A_SECOND = 14
"""Steps of each of two stages for a second between kills; a core does about fifteen a second."""
CASES: dict[str, list[str]] = {
    "one owner: locks, takeovers, directories that cannot be held": ["core/store/test_record.py"],
    "a run may move, and its data": ["core/test_places.py"],
    "signals in record and exit code": ["core/test_signals.py"],
    "states by the clock; kills again and again": ["plugins/test_sft_saving.py", "plugins/test_sft_kills.py"],
    "reading goes on within a file; a queue that kills again and again": [
        "core/curate/test_read_task.py",
        "core/test_requeue.py",
    ],
    "a worker that dies costs one row, read or scored, on every executor; what it lacks is told; parts go on": [
        "core/curate/test_lost_workers.py",
        "plugins/test_executors.py::test_a_worker_that_dies_is_told_of_with_its_item_and_a_remedy",
        "plugins/test_executors.py::test_ray_and_ray_data_give_the_same_results_and_errors_and_scores_as_this_process",
    ],
    "a rank with another run file": [
        "core/distributed/test_ranks.py::test_a_rank_that_fails_says_why_on_the_first_ranks_record",
    ],
    "images name what exists, pin their base and run as a user": ["test_packages.py"],
    "formats: kept runs are read, others are one line": ["core/test_formats.py"],
    "permissions follow the umask": ["core/test_permissions.py"],
    "bounds: quotas count, Ray is shut down": [
        "plugins/test_executors.py::test_the_quota_of_a_container_counts_and_not_the_machine_alone",
        "plugins/test_executors.py::test_ray_is_shut_down_after_its_work_unless_it_ran_before",
    ],
    "status, disk space, damage, examples, missing packages": ["plugins/test_operations.py"],
    "progress in plain lines, and in events.jsonl at a bounded rate": [
        "plugins/reporting/test_console.py",
        "plugins/test_trackers.py::test_training_steps_are_written_at_a_bounded_rate_and_the_last_always",
        "plugins/test_trackers.py::test_the_last_step_is_written_where_no_event_follows",
    ],
    "every command of the page on operating": ["test_operating.py"],
}


def requeued(seconds: float) -> dict[str, Any]:
    """Kill a training every ``seconds`` until it ends; how many attempts it took, and whether the weights are right.

    Seconds are those of the process's own processor time: real ones where it has a core to itself, and as good where
    others compute beside it. The training alone takes longer than an attempt may. Its steps save nothing
    (``save_every`` is more than there are) and ``save_seconds`` is the default of five minutes: what makes it go on is
    that states are saved earlier after a kill. Processes are forked from one that has imported torch, so that an
    attempt is not spent on that.
    """
    num_steps = int(seconds * STEPS_A_SECOND)
    with tempfile.TemporaryDirectory() as name:
        whole = kills.write_run_file(Path(name) / "whole", num_steps=num_steps, save_every=10**6)
        process, took = start(whole), 0.0
        while process.poll() is None:
            took = processor_time(process.pid) or took
            time.sleep(PAUSE)
        if process.returncode != 0:
            raise RuntimeError((whole.parent / "output.txt").read_text()[-2000:])
        file = kills.write_run_file(Path(name) / "requeued", num_steps=num_steps, save_every=10**6)
        codes: list[int] = []
        while 0 not in codes and len(codes) < MOST_ATTEMPTS:
            process = start(file)
            while process.poll() is None and processor_time(process.pid) < seconds:
                time.sleep(PAUSE)
            process.kill()
            codes.append(process.wait())
        events = (file.parent / "runs" / "killed" / "events.jsonl").read_text().splitlines()
        steps = sum('"kind": "log"' in line for line in events)
        equal = codes[-1] == 0 and kills.weights(file) == kills.weights(whole)
    return {
        "seconds": seconds, "whole_seconds": round(took, 1), "kills": len(codes) - 1, "finished": codes[-1] == 0,
        "steps": 2 * num_steps, "steps_logged": steps, "equal": equal,
    }  # fmt: skip


def processor_time(pid: int) -> float:
    """Seconds that a process has computed; 0 of one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(file: Path) -> forked.Forked:
    """``infimed-run FILE`` in a process of its own."""
    return forked.start(["-m", "infimed_core", str(file)], output=file.parent / "output.txt")


def measure(results: Results, arguments: argparse.Namespace) -> None:
    """Every case, then the queue."""
    if not arguments.only or any("queue" not in word for word in arguments.only):
        rows, failing = run_cases(CASES, arguments.only, results, arguments.at_once)
        table(["case", "tried", "held"], rows)
        results.target("cases that fail", len(failing), "== 0")
    if arguments.only and "queue" not in arguments.only:
        return
    with ProcessPoolExecutor(arguments.at_once, get_context("spawn")) as pool:
        for seconds, found in zip(arguments.kills, pool.map(requeued, arguments.kills), strict=True):
            print(found, flush=True)
            results.details[f"killed every {seconds:g} s"] = found
            results.target(f"killed every {seconds:g} s: kills before it ended", found["kills"], ">= 1")
            results.target(
                f"killed every {seconds:g} s: finished with the weights of a whole run", found["equal"], "== true"
            )


def options(parser: argparse.ArgumentParser) -> None:
    """The script's own options."""
    parser.add_argument("--only", nargs="*", help="cases whose name holds a word, or 'queue'")
    parser.add_argument("--at-once", type=int, default=1, help="cases, and queues, at a time")
    parser.add_argument("--kills", nargs="*", type=float, default=[6.0, 12.0, 30.0], help="seconds between kills")


if __name__ == "__main__":
    main("operations", measure, options)
