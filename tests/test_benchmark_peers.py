"""A benchmark whose peer is not installed says so at its start, in a line, and not by a traceback in the end."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = sorted(BENCHMARKS.glob("*.py"))


def _required() -> set[str]:
    """Import names of what InfiMed and its tests require."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)]
    wanted = {re.split(r"[\[<>=! ]", line)[0].lower().replace("_", "-") for line in lines}
    return {
        module
        for module, names in packages_distributions().items()
        if any(name.lower().replace("_", "-") in wanted for name in names)
    }


def _imports(node: ast.AST, caught: bool = False) -> Iterator[tuple[str, bool]]:
    """Every module that is imported, and whether its absence is caught."""
    caught = caught or isinstance(node, ast.Try)
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.Import):
            yield from ((name.name.split(".")[0], caught) for name in inner.names)
        elif isinstance(inner, ast.ImportFrom) and inner.module:
            yield inner.module.split(".")[0], caught
        yield from _imports(inner, caught)


def test_every_peer_is_looked_for_before_it_is_imported() -> None:
    own = {path.stem for path in [*SCRIPTS, *(ROOT / "tests").rglob("*.py"), *BENCHMARKS.rglob("*.py")]}
    known = own | _required() | set(sys.stdlib_module_names) | {"infimed_core", "infimed_plugins", "datasets", "tests"}
    texts = {path.stem: path.read_text(encoding="utf-8") for path in SCRIPTS}
    looked_for = {
        name
        for text in texts.values()
        for call in re.findall(r"(?:needs|find_spec)\(.*|peers = \{.*|for name in \(.*", text)
        for name in re.findall(r'"(\w+)"', call)
    }
    unguarded = {
        (script, name)
        for script, text in texts.items()
        for name, caught in _imports(ast.parse(text))
        if name not in known and not caught and name not in looked_for
    }
    assert unguarded == set()


def test_a_missing_package_is_one_line_with_the_command_that_installs_it() -> None:
    code = 'from common import needs; needs({"no_such_peer": "no-such-peer"}, "the part peer")'
    done = subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "the part peer: not installed" in done.stderr and "pip install no-such-peer" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("script", [["training.py", "--only", "trl"], ["quality.py", "--only", "ladder"]])
def test_a_script_without_its_peer_ends_at_once(script: list[str]) -> None:
    blind = "import sys, runpy; sys.argv = sys.argv[1:]; import common; common.needs = " + (
        'lambda packages, what, python="": (_ for _ in ()).throw(SystemExit(f"{what}: not installed: {[*packages]}"))'
    )
    code = f"{blind}; runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, *script], cwd=BENCHMARKS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "not installed" in done.stderr and "Traceback" not in done.stderr
