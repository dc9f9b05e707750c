"""``python docs/pictures.py RUN`` makes the documents' screenshots and terminal excerpt from a finished run.

``--progress FILE`` also starts that run file in a temporary directory, serves it, and pictures it while it trains.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests" / "plugins" / "reporting"))

from browser import Page, open_browser  # noqa: E402

VIEWS = {
    # name: (width, height, dark, part of the page, the question that is open)
    "report.png": (1280, 1000, False, "overview", ""),
    "report-dark.png": (1280, 1000, True, "results", ""),
    "report-phone.png": (390, 844, False, "browse", "#list .row"),
}
INFIMED = [sys.executable, "-c", "from infimed_core.cli import main; main()"]
RUN = [sys.executable, "-c", "from infimed_core.cli import run_main; run_main()"]


def reports(page: Page, run: Path, folder: Path) -> None:
    """The report in light, in dark and on a phone."""
    for name, (width, height, dark, part, opened) in VIEWS.items():
        page.resize(width, height, dark)
        page.open((run / "report.html").resolve())
        if opened:
            page.evaluate(f"document.querySelector('{opened}').click()")
        else:
            page.evaluate(f"document.getElementById('{part}').scrollIntoView()")
        if opened:
            page.evaluate(f"document.querySelector('{opened}').scrollIntoView()")
        page.screenshot(folder / name, whole=False)


def comparison(page: Page, run: Path, folder: Path, work: Path) -> None:
    """All models of the run against each other."""
    found = work / "comparison.html"
    subprocess.run([*INFIMED, "compare", str(run), "--to", str(found)], check=True, stdout=subprocess.DEVNULL)
    page.resize(1280, 1000)
    page.command("Page.navigate", url=found.as_uri())
    page.wait("document.querySelector('table') !== null")
    page.screenshot(folder / "compare.png", whole=False)


@contextmanager
def serving(run: Path) -> Iterator[str]:
    """The address of ``infimed serve``."""
    command = [*INFIMED, "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().split()[0]
        finally:
            server.send_signal(signal.SIGINT)


def trained(record: Path) -> bool:
    """Whether a stage has been trained to its end."""
    if not record.exists():
        return False
    steps = json.loads(record.read_text())["steps"]
    return any(step["name"].startswith("train-") and step["status"] == "done" for step in steps)


def progress(page: Page, file: Path, folder: Path, work: Path) -> None:
    """A run that has trained its first stage and goes on."""
    command = [*RUN, str(file), "--set", f"run.directory={work}", "--set", "run.name=in-progress"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        record = work / "in-progress" / "run.json"
        while not trained(record):
            if run.poll() is not None:
                raise SystemExit(f"the run ended too early, with exit code {run.returncode}")
            time.sleep(0.2)
        with serving(record.parent) as address:
            page.resize(1280, 1000)
            page.open(address)
            page.evaluate("document.getElementById('training').scrollIntoView()")
            page.wait("document.getElementById('live').textContent === 'live'")
            page.screenshot(folder / "serve.png", whole=False)
    finally:
        run.terminate()
        run.wait()


def main() -> None:
    """Write pictures and ``terminal.txt`` beside this file, or into ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--progress", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path, default=DOCS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, open_browser(Path(place), seconds=900) as page:
        reports(page, options.run, options.out)
        comparison(page, options.run, options.out, Path(place))
        if options.progress:
            progress(page, options.progress, options.out, Path(place))
        if page.problems:
            raise SystemExit("\n".join(page.problems))
    shown = subprocess.run([*INFIMED, "show", str(options.run)], capture_output=True, text=True, check=True).stdout
    text = "\n".join(line.rstrip() for line in shown.splitlines()).strip() + "\n"
    (options.out / "terminal.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
