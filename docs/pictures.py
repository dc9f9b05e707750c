"""``python docs/pictures.py RUN`` makes the README's screenshot and terminal excerpt from a finished run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests" / "core"))

from browser import open_browser  # noqa: E402


def main(run: Path) -> None:
    """Write ``docs/report.png`` and ``docs/terminal.txt``."""
    with tempfile.TemporaryDirectory() as place, open_browser(Path(place)) as page:
        page.resize(1280, 1000)
        page.open((run / "report.html").resolve())
        page.screenshot(DOCS / "report.png", whole=False)
    shown = subprocess.run(
        [sys.executable, "-c", "from infimed_core.cli import main; main()", "show", str(run)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (DOCS / "terminal.txt").write_text("\n".join(line.rstrip() for line in shown.splitlines()).strip() + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
