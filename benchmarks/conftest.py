"""Micro-benchmarks as ratios: each is told as a multiple of a reference computation in the same process."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

BASELINE = Path(__file__).parent / "results" / "micro-baseline.json"
COMMAND = "python -m pytest benchmarks/test_hot_paths.py --write-baseline"
RATIOS = pytest.StashKey[dict[str, float]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("infimed micro-benchmarks")
    group.addoption("--write-baseline", action="store_true", help=f"Write the ratios to {BASELINE.name}.")
    group.addoption("--fail-slower", type=float, metavar="FACTOR", help="Fail where a ratio is FACTOR of the baseline.")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RATIOS] = {}


def reference_seconds() -> float:
    """What the ratios are multiples of: Python's own work and NumPy's, half and half; the least of several."""
    matrix = np.random.default_rng(0).random((160, 160))
    seconds = []
    for _ in range(15):
        start = time.perf_counter()
        text = "".join(f"{number:x}" for number in range(6000))
        table = {text[place : place + 4]: place for place in range(0, len(text), 2)}
        for _ in range(4):
            matrix @ matrix
        assert table
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@pytest.fixture(autouse=True)
def ratio(request: pytest.FixtureRequest) -> Iterator[None]:
    """Measure the reference before and after each benchmark, and keep the ratio of the least times."""
    before = reference_seconds()
    yield
    fixture = request.node.funcargs.get("benchmark")
    if fixture is None or fixture.stats is None:
        return  # --benchmark-disable
    value = fixture.stats.stats.min / min(before, reference_seconds())
    fixture.extra_info["times_reference"] = value
    request.config.stash[RATIOS][request.node.name] = value


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ratios = config.stash[RATIOS]
    if not ratios:
        return
    known = json.loads(BASELINE.read_text())["ratios"] if BASELINE.exists() else {}
    terminalreporter.section("times the reference computation")
    for name, value in ratios.items():
        beside = f"{value / known[name]:8.2f} of the baseline" if name in known else "     not in the baseline"
        terminalreporter.write_line(f"{name:60} {value:10.3f} {beside}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    ratios, most = session.config.stash[RATIOS], session.config.getoption("--fail-slower")
    known = json.loads(BASELINE.read_text())["ratios"] if BASELINE.exists() else {}
    if session.config.getoption("--write-baseline"):
        sys.path.insert(0, str(Path(__file__).parent))
        from common import environment

        told = {**environment(), "command": COMMAND}
        body = {"environment": told, "ratios": {**known, **{name: round(v, 4) for name, v in ratios.items()}}}
        BASELINE.write_text(json.dumps(body, indent=1) + "\n")
    elif most and any(value > most * known[name] for name, value in ratios.items() if name in known):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
