"""What every benchmark script shares: its environment, its table of targets, and the JSON file."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import operator
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_COMPARE = {">=": operator.ge, "<=": operator.le, "==": operator.eq, "<": operator.lt, ">": operator.gt}
_PACKAGES = ("infimed", "numpy", "torch", "transformers", "pillow", "flash-attn", "lm-eval")


def environment() -> dict[str, Any]:
    """The machine, the versions and the commit that the figures belong to."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    here = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    changed = subprocess.run(
        ["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True, check=False
    )
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "commit": commit.stdout.strip() or None,
        "uncommitted_changes": bool(changed.stdout.strip()),
        "packages": versions,
        "command": " ".join([Path(sys.executable).name, *sys.argv]),
    }


def _processor() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or "unknown"


class Results:
    """Targets and details of one subject, as they are measured."""

    def __init__(self) -> None:
        self.targets: list[dict[str, Any]] = []
        self.details: dict[str, Any] = {}

    def target(self, name: str, value: float | int | bool | None, target: str) -> None:
        """Record a figure against its target, such as ``">= 0.995"``. ``None`` was not measured and does not hold."""
        sign, limit = target.split(maxsplit=1)
        wanted = {"true": 1.0, "false": 0.0}.get(limit.lower())
        holds = value is not None and bool(_COMPARE[sign](float(value), float(limit) if wanted is None else wanted))
        self.targets.append({"name": name, "value": value, "target": target, "holds": holds})

    def show(self) -> None:
        """Print the table of targets."""
        width = max((len(item["name"]) for item in self.targets), default=0)
        for item in self.targets:
            value = item["value"]
            shown = "not measured" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
            verdict = "holds" if item["holds"] else "DOES NOT HOLD"
            print(f"{item['name']:<{width}}  {shown:>12}  {item['target']:>10}  {verdict}")


def needs(packages: dict[str, str], what: str, python: str = sys.executable) -> None:
    """End at once, in a line, where a package that ``what`` compares with is missing: module name -> name on PyPI."""
    looks = "import sys, importlib.util as u; print(*[n for n in sys.argv[1:] if u.find_spec(n) is None])"
    done = subprocess.run([python, "-c", looks, *packages], capture_output=True, text=True, check=True)
    if missing := done.stdout.split():
        names = " ".join(packages[name] for name in missing)
        raise SystemExit(f"{what}: not installed in {python}: {', '.join(missing)}; pip install {names}")


def table(columns: list[str], rows: list[list[Any]]) -> None:
    """Print a plain table; numbers to the right."""
    text = [[f"{cell:,.4f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [columns, *text]) for i in range(len(columns))]
    numeric = [all(isinstance(row[i], int | float) or row[i] == "" for row in rows) for i in range(len(columns))]
    for line in [columns, ["-" * width for width in widths], *text]:
        cells = zip(line, widths, numeric, strict=True)
        print("  ".join(c.rjust(width) if right else c.ljust(width) for c, width, right in cells).rstrip())
    print()


def main(
    subject: str,
    measure: Callable[[Results, argparse.Namespace], None],
    arguments: Callable[[argparse.ArgumentParser], object] | None = None,
) -> None:
    """Run a benchmark script: parse ``--json`` and its own arguments, measure, print, write.

    Exits 0 when it ran, whether or not a target holds.
    """
    parser = argparse.ArgumentParser(description=f"Measure {subject}.")
    parser.add_argument("--json", type=Path, help="write the result here")
    if arguments is not None:
        arguments(parser)
    parsed = parser.parse_args()
    results, started = Results(), time.perf_counter()
    measure(results, parsed)
    seconds = time.perf_counter() - started
    results.show()
    if parsed.json is not None:
        body = {
            "subject": subject,
            "environment": environment(),
            "seconds": round(seconds, 3),
            "targets": results.targets,
            "details": results.details,
        }
        parsed.json.parent.mkdir(parents=True, exist_ok=True)
        parsed.json.write_text(json.dumps(body, indent=1, allow_nan=False) + "\n", encoding="utf-8")
