"""In which order several worker processes do the tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def dealt(tests: Sequence[T], file_of: Callable[[T], object], is_slow: Callable[[T], bool], num: int) -> list[T]:
    """``tests`` in ``num`` parts of equal size, one after the other, files with slow tests first in every part.

    pytest-xdist gives every worker one part (``--dist worksteal``), and whoever is done takes tests from the end of
    another's. A file of slow tests mostly has a server, an environment or a trained model that its tests share: where
    it begins a part, one worker does all of it, and what changes hands is quick and shares nothing.
    """
    files: dict[object, list[T]] = {}
    for test in tests:
        files.setdefault(file_of(test), []).append(test)
    slow = [file for file in files.values() if any(map(is_slow, file))]
    quick = [test for file in files.values() if not any(map(is_slow, file)) for test in file]
    parts: list[list[T]] = [[] for _ in range(num)]
    for file in sorted(slow, key=lambda file: -sum(map(is_slow, file))):
        min(parts, key=lambda part: sum(map(is_slow, part))).extend(file)
    ordered: list[T] = []
    for index, part in enumerate(sorted(parts, key=len, reverse=True)):
        size = (len(tests) - len(ordered)) // (num - index)
        room = max(0, size - len(part)) if index + 1 < num else len(quick)
        ordered += [*part, *quick[:room]]
        del quick[:room]
    return ordered
