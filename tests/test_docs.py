"""Documents tell the truth: their code runs, their links lead somewhere, their run files are valid."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infimed_core.plugins import load_plugins
from infimed_core.runfile.loading import load_run_file

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *(ROOT / name / "README.md" for name in ("plugins", "benchmarks", "examples")),
    ]
)


def test_plugin_guide_code_works_as_written(tmp_path: Path) -> None:
    text = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
    files = re.findall(r"```python file=(\S+)\n(.*?)```", text, flags=re.S)
    assert len(files) == 8
    for name, code in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_brightness.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "6 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_to_files(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.S)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    missing = [target for target in targets if "://" not in target and not (document.parent / target).exists()]
    assert missing == []


@pytest.mark.usefixtures("data_of_examples")
def test_every_example_is_a_valid_run_file() -> None:
    registry = load_plugins()
    files = sorted((ROOT / "examples").rglob("*.yaml"))
    assert len(files) >= 2
    for file in files:
        load_run_file(file, registry)


def test_the_list_of_examples_says_what_each_shows() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", (ROOT / "examples" / "README.md").read_text(encoding="utf-8"), re.M)
    files = sorted(str(path.relative_to(ROOT / "examples")) for path in (ROOT / "examples").rglob("*.yaml"))
    assert sorted(name for name, _ in rows) == files and all(len(said) > 30 for _, said in rows)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_column_of_a_table_has_a_header(document: Path) -> None:
    lines = document.read_text(encoding="utf-8").splitlines()
    heads = [above for above, line in itertools.pairwise(lines) if re.fullmatch(r"\|( *:?-+:? *\|)+", line)]
    assert [head for head in heads if re.search(r"\|\s*\|", head)] == []


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120


@pytest.mark.usefixtures("data_of_examples")
def test_nothing_refers_to_a_place_outside_the_project() -> None:
    for document in DOCUMENTS:
        assert "../shared" not in document.read_text(encoding="utf-8")


def test_readme_excerpt_is_what_the_terminal_showed() -> None:
    (excerpt,) = re.findall(r"```text\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.S)
    shown = (ROOT / "docs" / "terminal.txt").read_text(encoding="utf-8").splitlines()
    assert len(excerpt.splitlines()) >= 10
    assert [line for line in excerpt.splitlines() if line not in shown] == []
