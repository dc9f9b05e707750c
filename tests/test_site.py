"""The site of the documents builds without a warning, is complete, asks for no network, and everybody can read it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import forked
import pytest
from filelock import FileLock

from infimed_core import KINDS, load_plugins
from infimed_core.testing import run
from tests.test_third_party import shared_folder

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "plugins" / "reporting"))
sys.path.insert(0, str(ROOT / "docs"))

from browser import CHROMIUM, WHY_NOT, Page, open_browser  # noqa: E402

needs_mkdocs = pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs pip install 'infimed[docs]'")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or find_spec("axe_playwright_python") is None, reason=f"needs 'infimed[docs]'; {WHY_NOT}"
)
PAGES = ("index.html", "tutorials/own-data.html", "benchmarks.html", "reference/trainers.html")
ALL = "INFIMED_ALL_PAGES"  # set to 1, every page is looked at, which takes minutes


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built once for all worker processes, which wait for each other."""
    target = shared_folder(tmp_path_factory) / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(target)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    with FileLock(f"{target}.lock"):
        if not Path(f"{target}.done").exists():
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            Path(f"{target}.done").touch()
    return target


@pytest.fixture(scope="module")
def pages_of_a_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of a run with scores and several models, that of a run of data alone, a comparison, a leaderboard."""
    folder = tmp_path_factory.mktemp("runs")
    data = {"sources": [{"use": "demo-anatomy", "with": {"max_images": 20}}]}
    quality = {"scorers": [{"use": "five-dimension"}], "select": {"use": "top-share", "with": {"keep": 0.8}}}
    models = {"letter": {"use": "constant", "with": {"text": "B"}}, "random": {"use": "random"}}
    benchmarks = [{"use": "demo-vqa", "with": {"max_samples": 60}}, {"use": "demo-text", "with": {"max_samples": 30}}]
    both: dict[str, Any] = {"data": data, "quality": quality, "report": [{"use": "html"}]}
    run({"run": {"name": "data-only"}, **both}, folder)
    graded = {"models": models, "evaluation": {"models": list(models), "benchmarks": benchmarks}}
    run({"run": {"name": "all"}, **both, **graded}, folder)
    for command in (["compare", "runs/all", "--out", "comparison.html"], ["leaderboard", "runs", "--to", "board"]):
        done = forked.finish(["-c", "from infimed_core.cli import main; main()", *command], folder=folder)
        assert done.returncode == 0, done.stderr
    runs = folder / "runs"
    return {
        "report": runs / "all" / "report.html",
        "data-only": runs / "data-only" / "report.html",
        "comparison": folder / "comparison.html",
        "leaderboard": folder / "board" / "index.html",
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_browser(tmp_path_factory.mktemp("browser"), seconds=500) as opened:
        yield opened


def show(page: Page, file: Path) -> None:
    """Open a file and wait until all of it is there."""
    page.command("Page.navigate", url="about:blank")
    page.command("Page.navigate", url=file.resolve().as_uri())
    page.wait("location.protocol === 'file:' && document.readyState === 'complete'")
    if file.name == "report.html" and "runs" in file.parts:
        page.wait("document.documentElement.dataset.ready === 'true'")


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong: rule, how many elements, the first of them."""
    import axe_playwright_python

    source = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    page.evaluate(f"{source};0")
    found = page.evaluate(
        "axe.run().then(r => r.violations.map(v => `${v.id} (${v.nodes.length}): ${v.nodes[0].html.slice(0, 200)}`))"
    )
    return list(found)


def wrong_in_site(page: Page, file: Path) -> list[str]:
    """What axe-core finds in a page of the site in light and in dark."""
    page.resize(1400, 900)
    show(page, file)
    still = "const s = document.createElement('style'); s.textContent = '* { transition: none !important }';"
    page.evaluate(f"{{{still} document.head.append(s)}}")  # else colours fade into each other
    found = []
    for scheme in ("default", "slate"):
        page.evaluate(f"document.body.setAttribute('data-md-color-scheme', '{scheme}')")
        found += [f"{scheme}: {one}" for one in violations(page)]
    return found


@needs_mkdocs
@pytest.mark.slow
def test_the_site_builds_strictly_with_the_markdown_of_every_page(site: Path) -> None:
    listed = re.findall(r"\]\(([^)]+)\)", (site / "llms.txt").read_text(encoding="utf-8"))
    assert len(listed) > 40 and all((site / path).stat().st_size > 100 for path in listed)
    assert all((site / path).with_suffix(".html").exists() or path.endswith("README.md") for path in listed)
    assert (site / "llms-full.txt").stat().st_size > 200_000
    assert not list(site.rglob("*.py")) and not list(site.rglob("__pycache__"))


@needs_mkdocs
@pytest.mark.slow
def test_no_page_of_the_site_loads_anything_from_the_network(site: Path) -> None:
    loads = re.compile(r'<(?:script|img|iframe)[^>]* src="?(https?:[^" >]+)|<link[^>]* href="?(https?:[^" >]+)')
    wrong = {(file.name, found[0]) for file in site.rglob("*.html") for found in loads.finditer(file.read_text())}
    assert wrong == set()


def test_every_hook_command_and_setting_is_in_the_reference_with_its_meaning() -> None:
    import reference
    import typer

    from infimed_core.cli import application

    registry = load_plugins()
    made = reference.pages(registry)
    assert [name for name in reference.hook_names() if f"## {name}\n" not in made["hooks.md"]] == []
    group: Any = typer.main.get_command(application(registry))
    assert [name for name in group.commands if f"## infimed {name}\n" not in made["commands.md"]] == []
    for kind in KINDS:
        text = made[f"{reference.slug(kind)}.md"]
        for name, component in registry.components(kind).items():
            _, _, section = text.partition(f"\n## {name.rpartition('/')[2]}\n")
            section = section.split("\n## ")[0]
            assert section.strip(), f"{kind} {name} has no section"
            missing = [field.alias or key for key, field in component.model_fields.items()
                       if f"| `{field.alias or key}` |" not in section]  # fmt: skip
            assert missing == [], f"{kind} {name}"
    rows = [(name, line) for name, text in made.items() for line in text.splitlines() if line.startswith("| `")]
    empty = [(name, line) for name, line in rows if re.split(r"(?<!\\)\|", line)[-2].strip() == ""]
    assert empty == [], "settings, options or names without a description"


@needs_browser
@needs_mkdocs
@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_wrong_in_the_site(page: Page, site: Path, name: str) -> None:
    assert wrong_in_site(page, site / name) == []


@needs_browser
@needs_mkdocs
@pytest.mark.slow
@pytest.mark.skipif(os.environ.get(ALL) != "1", reason=f"takes minutes: {ALL}=1")
def test_nothing_is_wrong_in_any_page_of_the_site_and_none_scrolls_sideways(site: Path, tmp_path: Path) -> None:
    files = [file for file in sorted(site.rglob("*.html")) if file.name != "404.html"]  # 404: whole when served alone
    assert len(files) > 60
    wrong: dict[str, object] = {}
    with open_browser(tmp_path, seconds=3000) as page:
        for file in files:
            found = wrong_in_site(page, file)
            for width in (1400, 360):
                page.resize(width, 800)
                if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
                    found.append(f"{wide} pixels of {width}")
            if found:
                wrong[file.name] = found
    assert wrong == {}


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("name", ["report", "data-only", "comparison", "leaderboard"])
def test_axe_finds_nothing_wrong_in_the_pages_of_a_run(page: Page, pages_of_a_run: dict[str, Path], name: str) -> None:
    for dark in (False, True):
        page.resize(1400, 900, dark)
        show(page, pages_of_a_run[name])
        assert violations(page) == [], f"dark: {dark}"


@needs_browser
@needs_mkdocs
@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1400])
def test_no_page_scrolls_sideways(page: Page, site: Path, pages_of_a_run: dict[str, Path], width: int) -> None:
    page.resize(width, 800)
    for file in [*(site / name for name in PAGES), *pages_of_a_run.values()]:
        show(page, file)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, file.name


@pytest.mark.slow
def test_a_report_shows_only_the_sections_that_have_something_to_say(pages_of_a_run: dict[str, Path]) -> None:
    def sections(name: str) -> list[str]:
        return re.findall(r'<section id="(\w+)">', pages_of_a_run[name].read_text(encoding="utf-8"))

    assert sections("data-only") == ["overview", "data", "quality", "cost", "record"]
    assert {"results", "parts", "matrix", "browse", "data", "quality"} <= set(sections("report"))
    assert {"packing", "training"}.isdisjoint(sections("report"))
    for name in ("data-only", "report"):
        text = pages_of_a_run[name].read_text(encoding="utf-8")
        links = re.findall(r'href="#(\w+)"', text.partition("<nav")[2].partition("</nav>")[0])
        assert links == sections(name)
