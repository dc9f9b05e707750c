"""Families, packing, checkpoints and adapters on the newest transformers and torch that install.

    python benchmarks/newest_versions.py --json OUT.json
    python benchmarks/newest_versions.py --transformers "transformers==5.24.0" --keep torch

makes a fresh environment below --directory (by default one that is removed again), installs the newest
versions there, and runs the tests that depend on them. ``--keep`` takes a package as it is installed here,
through the site-packages of this Python, so that only the others are new.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from common import Results, main

ROOT = Path(__file__).parents[1]
TESTS = (
    "tests/plugins/test_vlm_patch_rows.py",
    "tests/plugins/test_vlm_packing.py",
    "tests/plugins/test_vlm_padded.py",
    "tests/plugins/test_vlm_lengths.py",
    "tests/plugins/test_vlm_checkpoints.py",
    "tests/plugins/test_adapters.py",
    "tests/plugins/test_sft_real.py",
)
"""What breaks first where transformers or torch change: families, packing, lengths, checkpoints, adapters, training."""
EXTRAS = "train,lora,qlora,test,demo"


def make_environment(directory: Path, transformers: str, keep: list[str]) -> Path:
    """The Python of a fresh environment with the newest versions; the packages of ``keep`` are those of this one.

    An environment that is there already is taken as it is.
    """
    if (python := directory / "bin" / "python").is_file():
        return python
    venv.create(directory, with_pip=True, system_site_packages=False)
    if keep:
        site = next(directory.glob("lib/python*/site-packages"))
        own = [path for path in sys.path if path.endswith("site-packages")]
        (site / "kept.pth").write_text("\n".join(own) + "\n", encoding="utf-8")
        pip = [str(python), "-m", "pip", "install", "-q", "--upgrade", transformers]
        subprocess.run([*pip, *([] if "torch" in keep else ["torch"])], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--no-deps", "-e", str(ROOT)], check=True)
        return python
    pip = [str(python), "-m", "pip", "install", "-q", "--upgrade", "--upgrade-strategy", "eager"]
    subprocess.run([*pip, transformers, "torch", "-e", f"{ROOT}[{EXTRAS}]"], check=True)
    return python


def versions(python: Path) -> dict[str, str]:
    """The versions that the environment really imports."""
    code = "import json, torch, transformers, peft\n"
    code += "print(json.dumps({m.__name__: m.__version__ for m in (torch, transformers, peft)}))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def outcome(python: Path, test: str, more: list[str]) -> tuple[dict[str, int], str]:
    """How many tests of a file passed, failed and were skipped, and the names of those that failed."""
    done = subprocess.run(
        [str(python), "-m", "pytest", test, "-q", "-m", "newest", "-p", "no:cacheprovider", "--tb=line", *more],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return counts, "\n".join(failed) or ("" if counts else done.stdout[-2000:])


def measure(results: Results, arguments: object) -> None:
    """Make the environment, and run each file of tests in it."""
    given = vars(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(given["directory"] or scratch)
        python = make_environment(directory, given["transformers"], given["keep"])
        results.details["versions"] = found = versions(python)
        print(", ".join(f"{name} {version}" for name, version in found.items()))
        for test in given["tests"] or TESTS:
            counts, failed = outcome(python, test, given["pytest"])
            results.details[test] = {**counts, "failed": failed.splitlines()}
            results.target(
                f"{Path(test).stem}: tests that fail", counts.get("failed", 0) + counts.get("error", 0), "== 0"
            )
            results.target(f"{Path(test).stem}: tests that pass", counts.get("passed", 0), "> 0")


def add_options(parser: object) -> None:
    """Which versions, which tests."""
    add = parser.add_argument  # type: ignore[attr-defined]
    add("--directory", help="Where the environment is made and stays, or is already; a temporary one by default.")
    add("--transformers", default="transformers", help="A requirement, as pip takes it.")
    add("--keep", action="append", default=[], help="A package to take as it is installed here: torch.")
    add("--tests", action="append", default=[], help="Files of tests; the families, packing and adapters by default.")
    add("--pytest", action="append", default=[], help="More arguments of pytest, such as -kqwen3_vl.")


if __name__ == "__main__":
    main("newest_versions", measure, add_options)
