"""A value that travels with many tasks, and is made once in each process that it comes to."""

from __future__ import annotations

import pickle
from functools import cached_property, lru_cache
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Broadcast(Generic[T]):
    """What all tasks of one map have in common: pickled once here, unpickled once there.

    So a scorer loads its model or its word lists once in a worker process, and not with every task.
    """

    def __init__(self, value: T) -> None:
        self.value = value

    @cached_property
    def _pickled(self) -> bytes:
        return pickle.dumps(self.value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (self._pickled,)


@lru_cache(maxsize=1)  # one: the next map has another value, and the last one's model should not stay in memory
def _received(pickled: bytes) -> Broadcast[Any]:
    return Broadcast(pickle.loads(pickled))
