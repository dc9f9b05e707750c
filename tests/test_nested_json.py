"""JSON and YAML from outside may be nested deeper than Python can follow, or hold numbers of 5,000 digits."""

import ast
import json
from pathlib import Path

import pytest

from infimed_core import InfimedError
from infimed_core.records import open_run
from infimed_core.store.artifacts import Artifact, verify_files
from infimed_plugins.mdt.judging import read_verdict
from infimed_plugins.medevalkit.judging import read_object
from infimed_plugins.medevalkit.rubric import parse_reply, verdict
from infimed_plugins.operations.status import status_of

ROOT = Path(__file__).parents[1]
HOSTILE = ["[" * 100_000, '{"met": ' * 100_000, '{"criteria_met": ' + "9" * 5000 + "}", '{"made": [' + "[" * 5000]
READS = ("loads", "load", "safe_load")
CATCHES = ("RecursionError", "Exception", "BaseException")


def careless(source: str) -> list[int]:
    """Lines of ``except`` that expect a mistake in JSON or YAML and forget how deep it may be."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Try):
            continue
        calls = [call.func for part in node.body for call in ast.walk(part) if isinstance(call, ast.Call)]
        reads = any(
            isinstance(call, ast.Attribute) and call.attr in READS and ast.unparse(call.value) in ("json", "yaml")
            for call in calls
        )
        caught = " ".join(ast.unparse(handler.type) if handler.type else "Exception" for handler in node.handlers)
        expects = any(name in caught for name in ("ValueError", "JSONDecodeError", "YAMLError"))
        if reads and expects and not any(name in caught for name in CATCHES):
            lines.append(node.handlers[0].lineno)
    return lines


def test_whoever_expects_a_mistake_in_json_expects_it_too_deep() -> None:
    files = [path for folder in ("infimed_core", "plugins") for path in (ROOT / folder).rglob("*.py")]
    found = {str(path.relative_to(ROOT)): careless(path.read_text(encoding="utf-8")) for path in files}
    assert not {path: lines for path, lines in found.items() if lines}
    assert careless("try:\n    json.loads(x)\nexcept ValueError:\n    pass") == [3]
    assert careless("try:\n    json.loads(x)\nexcept (ValueError, RecursionError):\n    pass") == []


@pytest.mark.parametrize("text", HOSTILE)
def test_a_judge_that_replies_so_has_given_no_verdict(text: str) -> None:
    assert parse_reply(text) == {} and verdict(text) is None and read_verdict(text, 2) is None
    assert read_object(text, {"type": "object", "required": ["score"]})[0] is None


@pytest.mark.parametrize("text", HOSTILE)
def test_a_record_that_is_so_is_one_line_and_a_heartbeat_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    (tmp_path / "heartbeat.json").write_text(text)
    with pytest.raises(InfimedError, match=r"run\.json: not a run record") as error:
        open_run(tmp_path)
    assert "\n" not in str(error.value) and status_of(tmp_path).state == "unreadable"


def test_a_record_whose_events_are_so_is_read(tmp_path: Path) -> None:
    kept = json.loads((ROOT / "tests" / "fixtures" / "kept_runs" / "format-2" / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(kept))
    (tmp_path / "events.jsonl").write_text("\n".join(HOSTILE) + '\n{"kind": "message", "text": "x"}\n')
    assert [event.kind for event in open_run(tmp_path).events()] == ["message"]


@pytest.mark.parametrize("text", [*HOSTILE, "[]", "5", "null", '{"files": [1]}', '{"files": 3, "sha256": 4}', '"x"'])
def test_a_seal_that_is_so_is_none(tmp_path: Path, text: str) -> None:
    artifact = Artifact(tmp_path, "read", "0123456789abcdef")
    artifact.open()
    (artifact.directory / "artifact.json").write_text(text)
    assert artifact.is_complete is False
    verify_files(artifact.directory)
