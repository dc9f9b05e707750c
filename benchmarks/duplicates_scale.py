"""The index of near duplicates as pictures grow: memory and time of exact pairs of hashes and of altered copies.

    python benchmarks/duplicates_scale.py --json OUT.json [--hashes 100000 1000000] [--marked 5000 20000]

Hashes and marks are made, not read from pictures: the index alone is measured. One in a hundred is a near copy of
another (a few bits of its hash are flipped; its details are moved), and every one must be found. Each size is a process
of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
from common import Results, main, table

from infimed_plugins.filters.copies import altered_pairs
from infimed_plugins.filters.duplicates import Duplicates
from infimed_plugins.filters.hamming import close_pairs
from infimed_plugins.filters.keypoints import Marks

COPIES = 100
"""One picture in so many is a copy of another."""
DETAILS = 48
"""Details of a made picture."""


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def pairs_of_hashes(number: int) -> tuple[int, int]:
    """(copies that were found, copies that were made) among ``number`` hashes."""
    chance = np.random.default_rng(7)
    hashes = chance.integers(0, 256, (number, 32), dtype=np.uint8)
    num = number // COPIES
    for copy in range(number - num, number):
        bits = np.unpackbits(hashes[copy - (number - num)])
        bits[chance.choice(256, Duplicates().near_distance, replace=False)] ^= 1
        hashes[copy] = np.packbits(bits)
    left, right, _ = close_pairs(hashes, None, Duplicates().near_distance)
    found = set(zip(left.tolist(), right.tolist(), strict=True))
    return sum((at, number - num + at) in found for at in range(num)), num


def pairs_of_marks(number: int) -> tuple[int, int]:
    """The same of pictures by their details, whose places are moved in a copy."""
    chance = np.random.default_rng(8)
    places = chance.uniform(8, 248, (number, DETAILS, 3)).astype(np.float16)
    codes = chance.integers(0, 2**24, (number, 4, DETAILS), dtype=np.uint32)
    num = number // COPIES
    places[number - num :] = places[:num] + np.float16(4)
    codes[number - num :] = codes[:num]
    marked = [Marks(one, own) for one, own in zip(places, codes, strict=True)]
    found = {(first, second) for first, second, _ in altered_pairs(marked)}
    return sum((at, number - num + at) in found for at in range(num)), num


KINDS = {"hashes": pairs_of_hashes, "marks": pairs_of_marks}


def one_size(kind: str, number: int) -> dict[str, Any]:
    before, began, spent = peak_bytes(), time.perf_counter(), time.process_time()
    found, made = KINDS[kind](number)
    return {
        "kind": kind, "pictures": number, "copies": made, "found": found,
        "seconds": round(time.perf_counter() - began, 2), "seconds_of_processor": round(time.process_time() - spent, 2),
        "peak_bytes": peak_bytes(), "peak_bytes_over_start": peak_bytes() - before,
    }  # fmt: skip


def measure(results: Results, arguments: argparse.Namespace) -> None:
    """Every size in a process of its own."""
    if arguments.only:
        kind, number = arguments.only
        print(json.dumps(one_size(kind, int(number))))
        raise SystemExit(0)
    rows = []
    for kind, number in [*(("hashes", n) for n in arguments.hashes), *(("marks", n) for n in arguments.marked)]:
        told = subprocess.run(
            [sys.executable, __file__, "--only", kind, str(number)], capture_output=True, text=True, check=True
        )
        rows.append(json.loads(told.stdout.splitlines()[-1]))
    results.details["sizes"] = rows
    table(list(rows[0]), [list(row.values()) for row in rows])
    results.target("share of made copies that are found", min(row["found"] / row["copies"] for row in rows), "== 1")
    largest = max((row for row in rows if row["kind"] == "hashes"), key=lambda row: row["pictures"])
    results.target(f"GiB at {largest['pictures']:,} hashes", largest["peak_bytes"] / 2**30, "<= 4")
    results.target(f"processor seconds at {largest['pictures']:,} hashes", largest["seconds_of_processor"], "<= 600")


def options(parser: argparse.ArgumentParser) -> None:
    """The sizes."""
    parser.add_argument("--hashes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--marked", type=int, nargs="+", default=[5_000, 20_000])
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)


if __name__ == "__main__":
    main("the index of near duplicates", measure, options)
