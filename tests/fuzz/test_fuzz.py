"""Nearly valid files, run files, records, replies, answers and reports: no crash, no hang, and counts add up.

``INFIMED_FUZZ_EXAMPLES=20000 INFIMED_FUZZ_SECONDS=1000 python -m pytest tests/fuzz`` looks longer, and so does
``tests/fuzz/by_hand.py``.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from targets import TARGETS, hostile_texts

from infimed_plugins.medevalkit.answers.choice import read_choice
from infimed_plugins.medevalkit.answers.closed import grade_closed
from infimed_plugins.medevalkit.answers.open_answers import grade_open
from infimed_plugins.medevalkit.answers.polar import grade_polar
from infimed_plugins.quality.identity import identities

EXAMPLES = int(os.environ.get("INFIMED_FUZZ_EXAMPLES", "100"))
SLOW = {"reader-huggingface": 0.1, "benchmark-rows": 0.5}
"""Share of the examples of targets that take longer than the others."""
SECONDS = os.environ.get("INFIMED_FUZZ_SECONDS", "8")
"""Of atheris, for all targets together."""
HANGS_AFTER = 20
"""Seconds after which one example counts as a hang."""


@contextmanager
def no_hang() -> Iterator[None]:
    def ring(number, frame):
        raise TimeoutError(f"one example took more than {HANGS_AFTER} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(HANGS_AFTER)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.filterwarnings("ignore")  # of a library about a file that is damaged on purpose
def test_nothing_crashes_or_hangs_on_what_is_nearly_valid(name: str) -> None:
    @settings(max_examples=int(EXAMPLES * SLOW.get(name, 1)), deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(min_size=4, max_size=32))
    def check(edits: bytes) -> None:
        with no_hang():
            TARGETS[name](edits)

    check()


@pytest.mark.slow
def test_nothing_crashes_or_hangs_where_coverage_leads(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="pip install atheris, of which there are wheels for Linux on x86")
    script = Path(__file__).with_name("by_hand.py")
    limits = [f"-max_total_time={SECONDS}", "-timeout=60", "-seed=1", "-max_len=33", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), "all", *limits], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done " in done.stderr and not list(tmp_path.iterdir())


def strict(text: str) -> None:
    read_choice(text, ["Right upper lobe", "Left upper lobe"])
    for function in (grade_polar, grade_closed, grade_open):
        function("the left lung", text)


RULES = {"strict grading": strict, "rules of identity": identities}
SIZE, ALLOWED = 500, 3.0
"""Letters of the shortest text, and how much more than in proportion the time may grow (clocks are coarse)."""
NOTHING = 0.05
"""Seconds of the longest text under which growth is not looked at."""


def seconds(rule, text: str) -> float:
    start = time.process_time()
    rule(text)
    return time.process_time() - start


@pytest.mark.parametrize("rule", RULES)
def test_time_grows_in_proportion_to_a_hostile_text(rule: str) -> None:
    slow = {}
    for unit in hostile_texts():
        for around in ("{}", "The {} lung"):
            texts = [around.format(unit * (SIZE * times // len(unit))) for times in (1, 2, 4, 8)]
            with no_hang():
                found = [seconds(RULES[rule], text) for text in texts]
            if found[-1] > NOTHING and found[-1] > 8 * ALLOWED * max(found[0], 0.001):
                slow[unit, around] = [round(value, 4) for value in found]
    assert not slow
