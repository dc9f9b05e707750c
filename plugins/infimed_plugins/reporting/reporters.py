"""The reporters ``html`` and ``terminal``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from infimed_core import Reporter, RunEvent
from infimed_plugins.reporting.page.prices import Price

if TYPE_CHECKING:
    from infimed_core.records import Run


class HtmlReport(Reporter):
    """The run as one page, report.html, that works offline."""

    packages: ClassVar[Mapping[str, str]] = {"vl_convert": "infimed[report]"}

    max_thumbnails: int = Field(default=600, ge=0, description="Images in the page itself; the others are linked.")
    prices: dict[str, Price] = Field(
        default_factory=dict,
        description="By model, money for a million tokens: {gpt: {prompt: 1.25, answer: 10}}; the page adds them up.",
    )

    def write(self, run: Run, directory: Path) -> Sequence[Path]:
        """Write ``report.html``."""
        from infimed_plugins.reporting.page.page import write_page

        path = directory / "report.html"
        return [write_page(run, path, max_thumbnails=self.max_thumbnails, prices=self.prices)]


class TerminalSummary(Reporter):
    """The run as a few tables in the terminal; named in a run file, also as summary.txt."""

    def write(self, run: Run, directory: Path) -> Sequence[Path]:
        """Write ``summary.txt``."""
        import io

        from rich.console import Console

        from infimed_core import write_atomically

        text = io.StringIO()
        Console(file=text, width=110).print(self.summary(run))
        write_atomically(directory / "summary.txt", text.getvalue())
        return [directory / "summary.txt"]

    def summary(self, run: Run) -> Any:
        """Funnel, packing, losses, and accuracy with intervals."""
        from infimed_plugins.reporting.summary import summary_text

        return summary_text(run)

    @contextmanager
    def watch(self, quiet: bool = False) -> Iterator[Callable[[RunEvent], None]]:
        """A line for each step, and a bar for what takes long, on standard error."""
        from infimed_plugins.reporting.console import Console

        console = Console(quiet=quiet)
        try:
            yield console
        finally:
            console.close()
