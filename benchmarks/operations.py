"""Operating InfiMed: every point as a case with how much was tried and held, and a queue that takes machines away.

The cases are tests of the repository, run here and counted; those of locks, signals, kills and commands use processes
of their own. The queue kills a training every so many seconds and starts it again until it has ended.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import kills
from common import Results, main, table
from robustness import run_cases

MOST_ATTEMPTS = 60
CASES: dict[str, list[str]] = {
    "one owner: locks, takeovers, directories that cannot be held": ["core/store/test_record.py"],
    "a run may move, and its data": ["core/test_places.py"],
    "signals in record and exit code": ["core/test_signals.py"],
    "states by the clock; kills again and again": ["plugins/test_sft_saving.py", "plugins/test_sft_kills.py"],
    "reading goes on within a file; a queue that kills again and again": [
        "core/curate/test_read_task.py",
        "core/test_requeue.py",
    ],
    "a worker that dies, and what a worker lacks, is told on every executor": [
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
    "progress in plain lines": ["plugins/reporting/test_console.py"],
    "every command of the page on operating": ["test_operating.py"],
}


def requeued(seconds: float, num_steps: int = 40) -> dict[str, Any]:
    """Kill a training every ``seconds`` until it ends; how many attempts it took, and whether the weights are right."""
    with tempfile.TemporaryDirectory() as name:
        whole = kills.write_run_file(Path(name) / "whole", num_steps=num_steps)
        kills.finish(whole)
        file = kills.write_run_file(Path(name) / "requeued", num_steps=num_steps, save_every=1000)
        attempts, code = 0, 1
        while code != 0 and attempts < MOST_ATTEMPTS:
            attempts += 1
            process = kills.start(file)
            until = time.monotonic() + seconds
            while process.poll() is None and time.monotonic() < until:
                time.sleep(0.02)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            code = process.wait()
        equal = code == 0 and kills.weights(file) == kills.weights(whole)
    return {"seconds": seconds, "attempts": attempts, "finished": code == 0, "equal": equal}


def measure(results: Results, arguments: argparse.Namespace) -> None:
    """Every case, then the queue."""
    rows, failing = run_cases(CASES, arguments.only, results)
    table(["case", "tried", "held"], rows)
    results.target("cases that fail", len(failing), "== 0")
    for seconds in arguments.kills:
        found = requeued(seconds)
        results.details[f"killed every {seconds:g} s"] = found
        results.target(
            f"killed every {seconds:g} s: finished with the weights of a whole run", found["equal"], "== true"
        )


def options(parser: argparse.ArgumentParser) -> None:
    """The script's own options."""
    parser.add_argument("--only", nargs="*", help="cases whose name holds a word")
    parser.add_argument("--kills", nargs="*", type=float, default=[6.0, 12.0, 30.0], help="seconds between kills")


if __name__ == "__main__":
    main("operations", measure, options)
