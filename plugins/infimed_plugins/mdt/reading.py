"""Files of cases: read line by line, every mistake told with file and line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from infimed_core import read_named
from infimed_plugins.mdt.cases import Case, case_schema

BUILT_IN = Path(__file__).with_name("cases.jsonl")


@dataclass(frozen=True)
class Line:
    """A line of a file of cases: the case, or what is wrong with it."""

    where: str
    case: Case | None
    problems: tuple[str, ...] = ()


def read_cases(path: Path) -> Iterator[Line]:
    """Every line that is not empty, as a case or with its problems, each ``file:line: place: message``.

    A file that cannot be read is one line with one problem.
    """
    seen: dict[str, int] = {}
    try:
        for number, text in enumerate(read_named(path).decode().split("\n"), start=1):
            if text.strip():
                yield _line(f"{path}:{number}", text, number, seen)
    except FileNotFoundError:
        yield Line(str(path), None, (f"{path}: no such file of cases; leave 'cases' out for the built-in ones",))
    except (OSError, UnicodeDecodeError) as error:
        yield Line(str(path), None, (f"{path}: cannot be read: {error}; cases are JSON Lines in UTF-8",))


def _line(where: str, text: str, number: int, seen: dict[str, int]) -> Line:
    from pydantic import ValidationError

    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        at = f"at column {error.colno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else f"({error})"
        return Line(where, None, (f"{where}: not JSON {at}; one case is one line",))
    problems = [f"{where}: {problem}" for problem in _against_the_schema(body)]
    case = None
    if not problems:
        try:
            case = Case.model_validate(body)
        except ValidationError as error:
            problems = [
                f"{where}: {_place(item['loc'])}: {item['msg'].removeprefix('Value error, ')}"
                for item in error.errors(include_url=False)
            ]
    if case is not None and case.id in seen:
        problems = [f"{where}: id: '{case.id}' is the id of line {seen[case.id]} already; give each case its own"]
        case = None
    if case is not None:
        seen[case.id] = number
    return Line(where, case, tuple(problems))


@cache
def _validator() -> Any:
    import jsonschema

    return jsonschema.Draft202012Validator(case_schema())


def _against_the_schema(body: Any) -> list[str]:
    """What the JSON Schema finds wrong, each with its place and without the document itself."""
    found = []
    for error in sorted(_validator().iter_errors(body), key=lambda error: [str(part) for part in error.path]):
        message = error.message if len(error.message) <= 160 else f"{error.message[:120]} …"
        if error.validator == "additionalProperties":
            message += f"; known keys: {', '.join(sorted(error.schema.get('properties', {})))}"
        found.append(f"{_place(tuple(error.path))}: {message}")
    return found


def _place(location: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in location) or "the case"
