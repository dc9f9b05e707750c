"""Hostile input, faults and damage: every kind of issue as a case, with how many attempts were tried and held.

Most cases are tests of the repository, run here and counted: a case holds where all of its tests pass. The sweep kills
a small run before each of its file operations and starts it again; the overhead is what checks cost the demo.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import killsweep
import overhead
from common import Results, main, table

ROOT = Path(__file__).parent.parent
CASES: dict[str, list[str]] = {
    "code of checkpoints, tasks and configurations is not run unasked": ["plugins/test_untrusted_code.py"],
    "media are opened by our modalities, within the data's folder": [
        "plugins/test_readers_faults.py::test_nested_media_of_a_hugging_face_data_set_are_not_opened",
        "plugins/test_readers_faults.py::test_a_folder_is_read_as_it_is_and_nothing_outside_it",
    ],
    "pipes, devices and folders are refused, not waited for": [
        "plugins/test_pixels_bounds.py",
        "plugins/test_readers_faults.py::test_a_pipe_is_no_file_to_read",
    ],
    "packed files are read within bounds or named with what to do": [
        "plugins/test_dicom.py::test_a_file_packed_by_gzip_is_read_and_what_it_unpacks_to_is_bounded",
        "plugins/test_image.py::test_what_is_packed_or_of_another_kind_is_named_with_what_to_do",
    ],
    "keys and passwords are shown nowhere; identified samples stay; slow servers end": [
        "plugins/test_endpoint_hostile.py",
    ],
    "texts do not steer terminals; names do not collide; half characters end no run": [
        "core/store/test_hostile_names.py",
    ],
    "the lock, takeovers, formats and the owner of a run": ["core/store/test_record.py"],
    "signals are told apart in record and exit code": ["core/test_signals.py"],
    "another checkpoint at the same path is another model": ["core/models/test_checkpoint_content.py"],
    "checkpoints of others: weights, links, sizes, damage and templates": ["plugins/test_hostile_checkpoints.py"],
    "seals, records, media, caches and owners that were changed": ["core/store/test_seals.py"],
    "damage of the same size is found, named and mended by the command": ["core/test_damage.py"],
    "state of a stage: saved by the clock, full disks, damaged states, kills": [
        "plugins/test_sft_saving.py",
        "plugins/test_sft_kills.py",
    ],
    "files of cases import nothing; folders of data, benchmarks and answers of strangers": [
        "plugins/test_hostile_files.py",
    ],
    "one bad row is one fault with its place": ["plugins/test_readers_faults.py", "plugins/test_medevalkit_rows.py"],
    "damaged pictures and volumes are pixels as probed or a fault": ["plugins/test_pixels_fuzz.py"],
    "run files: every mistake is a line, none a traceback": ["core/runfile/test_loading.py"],
    "rules on text are linear; nearly valid input neither crashes nor hangs": ["fuzz"],
    "a page of very many long answers is written in bounded memory (its figure: report.py)": [
        "plugins/reporting/test_report.py::"
        "test_a_page_of_very_much_text_cuts_each_text_shorter_says_so_and_shows_what_decided",
    ],
    "permissions follow the user's umask": ["core/test_permissions.py"],
}


def run_tests(nodes: list[str]) -> tuple[int, int, list[str]]:
    """How many tests ran, how many passed, and the names of those that did not."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        targets = [str(ROOT / "tests" / node) for node in nodes]
        subprocess.run([*command, *targets], cwd=ROOT, env=environment, capture_output=True, check=False)
        if not report.exists():
            return 0, 0, ["pytest did not run"]
        tests = list(ElementTree.parse(report).getroot().iter("testcase"))
    ran = [test for test in tests if test.find("skipped") is None]
    bad = [f"{test.get('classname')}.{test.get('name')}" for test in ran if len(test) and test[0].tag != "properties"]
    return len(ran), len(ran) - len(bad), bad


def run_cases(
    cases: dict[str, list[str]], only: list[str] | None, results: Results, at_once: int = 1
) -> tuple[list[list[Any]], list[str]]:
    """Rows of name, tried and held, and the tests that failed; ``only`` keeps names that hold one of its words."""
    wanted = {name: nodes for name, nodes in cases.items() if not only or any(word in name for word in only)}
    rows: list[list[Any]] = []
    failing: list[str] = []
    with ThreadPoolExecutor(at_once) as pool:
        for name, (tried, held, bad) in zip(wanted, pool.map(run_tests, wanted.values()), strict=True):
            rows.append([name, tried, held])
            failing += bad
            results.details[name] = {"tried": tried, "held": held, "failing": bad}
            print(f"{held} of {tried}: {name}", flush=True)
    return rows, failing


def measure(results: Results, arguments: argparse.Namespace) -> None:
    """Every case, then the sweep, then the overhead where a run is given."""
    rows, failing = run_cases(CASES, arguments.only, results, arguments.at_once)
    if not arguments.only or "sweep" in arguments.only:
        swept = killsweep.sweep(arguments.every, arguments.minutes)
        results.details["sweep"] = swept
        rows.append(
            ["killed before a file operation and started again", swept["tried"], swept["tried"] - len(swept["failing"])]
        )
        failing += [f"operation {bad['operation']}" for bad in swept["failing"]]
    table(["case", "tried", "held"], rows)
    if rows:
        results.target("cases that fail", len(failing), "== 0")
    if not arguments.only:
        results.target("attempts", sum(row[1] for row in rows), ">= 500")
    if not arguments.only or "overhead" in arguments.only:
        results.details["overhead"] = overhead.overhead()
        results.target(
            "share of checks in the seconds of a smaller demo", results.details["overhead"]["share"], "<= 0.02"
        )


def options(parser: argparse.ArgumentParser) -> None:
    """The script's own options."""
    parser.add_argument("--only", nargs="*", help="cases whose name holds a word, or 'sweep', or 'overhead'")
    parser.add_argument("--at-once", type=int, default=1, help="cases at a time")
    parser.add_argument("--every", type=int, default=1, help="kill at each such file operation (default: every one)")
    parser.add_argument("--minutes", type=float, help="the longest that the sweep may take; what it has seen is told")


if __name__ == "__main__":
    main("robustness", measure, options)
