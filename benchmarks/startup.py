"""CPU time of ``infimed check`` beside importing numpy, pydantic and typer, alone and with many plugins installed."""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from common import Results, main, table

sys.path.insert(0, str(Path(__file__).parents[1]))  # the distributions that the tests install

from tests.third_party.make_plugins import Outside, hook

ROOT = Path(__file__).parents[1]
IMPORTS = [sys.executable, "-c", "import numpy, pydantic, typer"]
CHECK = [
    sys.executable,
    "-c",
    "from infimed_core.cli import main; main()",
    "check",
    str(ROOT / "examples" / "full.yaml"),
]
NUM_PLUGINS = 30
IMPORTS_OF_PLUGIN = "from infimed_core import Score, Scorer, hookimpl\n"
SCORER = """
class Scorer{number}(Scorer):
    "Half for all."
    def score(self, samples, media):
        return [Score(value=0.5) for _ in samples]
"""


def cpu_seconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """User and system time of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def install_plugins(folder: Path) -> None:
    """Thirty distributions in a folder for ``PYTHONPATH``, each with a scorer of its own."""
    for number in range(NUM_PLUGINS):
        source = SCORER.format(number=number) + hook("scorers", f"return {{'scorer-{number}': Scorer{number}}}")
        wheel = Outside(f"plugin-{number}", source, head=IMPORTS_OF_PLUGIN).write(folder)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        wheel.unlink()


def measure(results: Results, arguments: argparse.Namespace) -> None:
    """CPU seconds of each command, repeated in turn so that what else the machine does falls on all alike."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as place:
        install_plugins(Path(place))
        paths = os.pathsep.join(filter(None, [place, environment.get("PYTHONPATH", "")]))
        with_plugins = f"check, {NUM_PLUGINS} plugins installed"
        commands = {
            "imports": (IMPORTS, environment),
            "check": (CHECK, environment),
            with_plugins: (CHECK, environment | {"PYTHONPATH": paths}),
        }
        for command, variables in commands.values():
            cpu_seconds(command, variables)  # fills the caches of bytecode and of the disk
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(arguments.repeats):
            for name, (command, variables) in commands.items():
                seconds[name].append(cpu_seconds(command, variables))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    table(["command", "CPU seconds, median", "least", "most"],
          [[name, medians[name], min(values), max(values)] for name, values in seconds.items()])  # fmt: skip
    results.details["cpu_seconds"] = seconds
    results.target("infimed check, times the imports", medians["check"] / medians["imports"], "<= 2.5")
    results.target(f"the same, {NUM_PLUGINS} plugins installed", medians[with_plugins] / medians["imports"], "<= 3")


if __name__ == "__main__":
    main("startup", measure, lambda parser: parser.add_argument("--repeats", type=int, default=10))
