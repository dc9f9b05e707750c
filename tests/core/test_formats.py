"""A run directory of each format that was ever written is read, or refused in one line, and never changed."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from infimed_core import InfimedError, RunEvent, load_plugins
from infimed_core.records import RECORD_FORMAT, open_run
from infimed_core.testing import run
from infimed_plugins.operations.checksums import damaged_files
from infimed_plugins.operations.status import status_of
from infimed_plugins.reporting.check import lines_about
from infimed_plugins.reporting.page.page import write_page

KEPT = Path(__file__).parents[1] / "fixtures" / "kept_runs"
"""Runs as they were written; the run of a new format is added when the format changes."""


def content(directory: Path) -> dict[str, str]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_kept_run_of_this_format_is_read_in_every_part(tmp_path: Path) -> None:
    place = KEPT / f"format-{RECORD_FORMAT}"
    before = content(place)
    kept = open_run(place)
    assert status_of(place).state == "done" and not damaged_files(place)[2]
    samples = list(kept.samples())
    assert len(samples) == 8 and sum(row.kept for row in samples) == 4
    assert all(row.scores["five-dimension"].value is not None for row in samples)
    assert all(Path(str(item.uri)).is_file() for row in samples for item in row.sample.media)
    assert len(list(kept.faults())) == 2
    answers = list(kept.answers("demo-text", "base"))
    assert len(answers) == 3 and all("strict" in row.scores for row in answers)
    assert {row.model for row in kept.results("demo-text")} >= {"base"}
    assert write_page(kept, tmp_path / "report.html").stat().st_size > 10_000
    assert content(place) == before


def test_a_kept_run_of_format_1_is_refused_in_one_line_and_made_anew_beside_what_it_left(tmp_path: Path) -> None:
    place = tmp_path / "runs" / "r"
    shutil.copytree(KEPT / "format-1", place)
    before = content(place)
    with pytest.raises(
        InfimedError, match=r"made by an earlier version \(record format 1; this one reads 2\)"
    ) as caught:
        open_run(place)
    assert "\n" not in str(caught.value) and status_of(place).state == "unreadable" and content(place) == before
    document = {
        "run": {"name": "r"},
        "model": {"use": "constant", "with": {"text": "yes"}},
        "evaluation": {"benchmarks": [{"use": "demo-text"}], "limit": 3},
    }
    events: list[RunEvent] = []
    record = run(document, tmp_path, events)
    told = [event.payload["text"] for event in events if event.kind == "message"]
    assert [text for text in told if "record format 1" in text and "read as before" in text] == told[:1]
    assert {step.status for step in record.steps} == {"done"} and open_run(place).status == "done"
    after = content(place)
    kept = {path: text for path, text in before.items() if "/artifacts/" in path or "/media/" in path}
    assert len(kept) > 20 and kept.items() <= after.items()


@pytest.mark.parametrize("number", [0, 1, RECORD_FORMAT + 1, 99])
def test_a_run_of_another_format_is_one_line_and_a_later_one_stays_as_it_is(tmp_path: Path, number: int) -> None:
    directory = tmp_path / "runs" / "r"
    directory.mkdir(parents=True)
    body = json.loads((KEPT / f"format-{RECORD_FORMAT}" / "run.json").read_text()) | {"format": number, "new_field": 1}
    (directory / "run.json").write_text(json.dumps(body))
    with pytest.raises(InfimedError, match=f"record format {number}") as caught:
        open_run(directory)
    assert "\n" not in str(caught.value)
    if number > RECORD_FORMAT:
        document = {"run": {"name": "r"}, "model": {"use": "constant", "with": {"text": "yes"}}}
        with pytest.raises(InfimedError, match="later version"):
            run(document, tmp_path)
        assert json.loads((directory / "run.json").read_text()) == body
        (tmp_path / "run.yaml").write_text(
            json.dumps(document | {"run": {"name": "r", "directory": str(directory.parent)}})
        )
        with pytest.raises(InfimedError, match="later version"):
            lines_about(tmp_path / "run.yaml", load_plugins(), {})
