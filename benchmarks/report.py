"""Reports of 50,000 answers and of the demo in a real headless Chromium; `infimed compare` beside statsmodels.

    python benchmarks/report.py --json OUT.json [--answers 50000] [--run RUN] [--pictures DIRECTORY]

The large run is synthetic (tests/plugins/reporting/report_fixture.py): its figures mean nothing, only its size does.
``--run`` is a
finished run of the demo; without it the last of the three small ones that are compared here is opened.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import Results, main

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "plugins" / "reporting"))

from browser import CHROMIUM, WHY_NOT, Page, open_browser
from compare_by_hand import THREE, demo, gaps
from report_fixture import write_run

from infimed_core import InfimedError
from infimed_core.plugins import load_plugins
from infimed_core.testing import run as run_document
from infimed_plugins.reporting.compare.comparison import compare_runs
from infimed_plugins.reporting.page.page import write_report

LONG = 10_000
"""Letters of one long answer."""
MODELS = 6
BENCHMARKS = 2
MARKUP = "<script>document.documentElement.dataset.hacked='1'</script><img src=x onerror=\"window.hacked=1\">"
VIEWS = {"light": (1280, 900, False), "dark": (1280, 900, True), "phone": (390, 844, False)}


def first_paint(page: Page) -> float | None:
    """Milliseconds from navigation to the first contentful paint, as the browser itself measured."""
    found = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null")
    return None if found is None else float(found)


def timed(page: Page, action: str) -> float:
    """Milliseconds that a change of the filters takes in the page, from input to the new list."""
    start = time.perf_counter()
    before = page.evaluate("document.getElementById('found').textContent")
    page.evaluate(action)
    page.wait(f"document.getElementById('found').textContent !== {before!r}")
    return (time.perf_counter() - start) * 1000


def measure(results: Results, options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        questions = options.answers // (MODELS * BENCHMARKS) + 1
        large = write_run(folder / "large", questions=questions, images=900)
        start = time.perf_counter()
        page_file = write_report(large)
        written = time.perf_counter() - start
        results.details["answers"] = questions * MODELS * BENCHMARKS
        results.details["megabytes"] = round(page_file.stat().st_size / 1e6, 1)
        results.target("seconds to write the page", round(written, 2), "<= 60")
        results.target("megabytes of the page", results.details["megabytes"], "<= 60")
        long_answers(folder / "long", questions, results)
        hostile = write_report(write_run(folder / "hostile", questions=24, payload=MARKUP))
        small = write_report(write_run(folder / "small", questions=60))
        compared = comparison(folder / "compared", results)
        real = write_report(options.run or compared)
        if CHROMIUM is None:
            print(f"not measured in a browser: {WHY_NOT}", file=sys.stderr)
            results.target("milliseconds to first paint, 50,000 answers", None, "<= 2000")
            return
        with open_browser(folder, seconds=400) as page:
            in_browser(page, page_file, hostile, results)
            demo_in_browser(page, real, results)
            if options.pictures:
                pictures(page, small, options.pictures)


def long_answers(folder: Path, questions: int, results: Results) -> None:
    """A page of as many answers of 10 KB each, written by the command in a process of its own."""
    write_run(folder, questions=questions, images=0, letters=LONG)
    process = subprocess.Popen([str(Path(sys.executable).with_name("infimed")), "report", str(folder)])
    _, status, used = os.wait4(process.pid, 0)
    results.details["long_answers_exit_status"] = os.waitstatus_to_exitcode(status)
    results.details["long_answers_megabytes"] = round(sum(f.stat().st_size for f in folder.rglob("*.jsonl")) / 1e6)
    results.details["long_answers_cpu_seconds"] = round(used.ru_utime + used.ru_stime, 1)
    page = folder / "report.html"
    results.target("answers of 10 KB: megabytes of memory to write the page", round(used.ru_maxrss / 1e3), "<= 600")
    results.target("answers of 10 KB: megabytes of the page", round(page.stat().st_size / 1e6, 1), "<= 100")


def in_browser(page: Page, large: Path, hostile: Path, results: Results) -> None:
    page.resize(1280, 900)
    paints, ready = [], []
    for _ in range(5):
        start = time.perf_counter()
        page.open(large)
        ready.append((time.perf_counter() - start) * 1000)
        paints.append(first_paint(page))
    known = [paint for paint in paints if paint is not None]
    results.details["first_paint_milliseconds"] = paints
    results.details["all_answers_ready_milliseconds"] = [round(value) for value in ready]
    worst = max(known) if len(known) == len(paints) else None
    results.target("milliseconds to first paint, 50,000 answers, worst of 5", worst, "<= 2000")
    form = "const form = document.getElementById('filters');"
    change = "form.dispatchEvent(new Event('input'))"
    search = timed(page, f"{{{form} form.elements.q.value = 'question 77:'; {change}}}")
    results.target("milliseconds to the first search result", round(search), "<= 1000")
    verdict = timed(page, f"{{{form} form.elements.q.value = ''; form.elements.verdict.value = 'w'; {change}}}")
    results.target("milliseconds to filter by verdict", round(verdict), "<= 1000")
    outside = [url for url in page.requests if not url.startswith(("file:", "data:"))]
    results.target("requests off the file", len(outside), "== 0")
    page.open(large, "#browse?answer=demo-vqa%7Cbase%7Cquestion-77")
    opened = page.evaluate("document.querySelector('#list .row[aria-expanded=\"true\"] .question')?.textContent ?? ''")
    results.target("a deep link opens its answer", "Question 77:" in opened, "== true")
    page.open(hostile)
    page.evaluate("document.querySelectorAll('#list .row').forEach((row) => row.click())")
    ran = page.evaluate("(document.documentElement.dataset.hacked ?? window.hacked ?? null) !== null")
    results.target("payloads in text fields that ran", int(ran), "== 0")
    results.target("errors and warnings in the console", len(page.problems), "== 0")
    results.details["problems"] = page.problems


def demo_in_browser(page: Page, report: Path, results: Results) -> None:
    before = len(page.problems)
    page.open(report)
    results.target("demo: errors and warnings in the console", len(page.problems) - before, "== 0")
    outside = [url for url in page.requests if not url.startswith(("file:", "data:"))]
    results.target("demo: requests off the file", len(outside), "== 0")
    results.details["demo_first_paint_milliseconds"] = first_paint(page)
    page.open(report, "#browse?model=base")
    found = page.evaluate("document.getElementById('found').textContent")
    of = [int(part.replace(",", "").split()[0]) for part in found.split(" of ")]
    results.target("demo: a filter leaves some answers and not all", 0 < of[0] < of[1], "== true")


def comparison(folder: Path, results: Results) -> Path:
    """`infimed compare` on three small runs of the demo, against statsmodels; the last run's directory."""
    folder.mkdir()
    for name, stages in THREE.items():
        run_document(demo(name, stages), folder)
    runs = {name: folder / "runs" / name for name in THREE}
    registry = load_plugins()
    start = time.perf_counter()
    # The untrained base has nothing that can be graded, so the constant answer stands for it as well.
    asked = [str(runs["base"]), f"{runs['base']}:most-common-answer", str(runs["one"]), str(runs["all"])]
    found = compare_runs(asked, registry)
    results.details["compare_seconds"] = round(time.perf_counter() - start, 2)
    results.details["compared"] = [row.model_dump(mode="json") for row in found.benchmarks]
    results.details["not_compared"] = found.notes
    far = gaps(runs, (*found.benchmarks, *found.cells))
    results.details["figures_checked"] = len(far)
    results.target("compare: largest gap to statsmodels", max(far), "<= 1e-9")
    changed = demo("other", [])
    changed["evaluation"]["limit"] = 20
    run_document(changed, folder)
    try:
        compare_runs([asked[1], f"{folder / 'runs' / 'other'}:most-common-answer"], registry)
        told = ""
    except InfimedError as error:
        told = str(error)
    results.details["refusal"] = told
    results.target(
        "compare: another protocol is refused, its difference named", "limit: 20 and none" in told, "== true"
    )
    return runs["all"]


def pictures(page: Page, report: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, (width, height, dark) in VIEWS.items():
        page.resize(width, height, dark)
        for part in ("overview", "browse", "quality", "training"):
            page.open(report, "#browse?answer=demo-vqa%7Cbase%7Cquestion-4" if part == "browse" else f"#{part}")
            if part != "browse":
                page.evaluate(f"document.getElementById('{part}').scrollIntoView()")
            page.screenshot(folder / f"{name}-{part}.png", whole=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--answers", type=int, default=50_000)
    parser.add_argument("--run", type=Path, help="a finished run of the demo, opened in the browser too")
    parser.add_argument("--pictures", type=Path, help="save screenshots of a small report here")


if __name__ == "__main__":
    main("report", measure, add_arguments)
