"""Arrow columns from Python lists and back, without pandas.

``pyarrow.array`` and ``to_numpy`` import pandas where it is installed, which costs every worker process half a second
and tens of megabytes; columns made from buffers do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray


def numbers(values: Sequence[float | None]) -> Any:
    """A float64 column; ``None`` is null."""
    import pyarrow as pa

    known = np.array([value is not None for value in values], dtype=bool)
    content = np.array([0.0 if value is None else value for value in values], dtype=np.float64)
    buffers = [pa.py_buffer(np.packbits(known, bitorder="little").tobytes()), pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.float64(), len(values), buffers)


def texts(values: Iterable[str]) -> Any:
    """A string column without nulls.

    Raises:
        UnicodeEncodeError: a text holds half of a surrogate pair.
        ValueError: two gigabytes or more in all.
    """
    import pyarrow as pa

    encoded = [value.encode() for value in values]
    buffers = [None, _offsets(encoded), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def lists_of_texts(values: Sequence[Sequence[str]]) -> Any:
    """A column of lists of strings."""
    import pyarrow as pa

    return pa.ListArray.from_arrays(_places(values), texts(chain.from_iterable(values)))


def maps_to_numbers(values: Sequence[dict[str, float | None]]) -> Any:
    """A column of maps from string to float64."""
    import pyarrow as pa

    keys = texts(chain.from_iterable(values))
    items = numbers([number for value in values for number in value.values()])
    return pa.MapArray.from_arrays(_places(values), keys, items)


def fixed_bytes(values: Sequence[bytes], width: int) -> Any:
    """A column of ``width`` bytes each."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.binary(width), len(values), [None, pa.py_buffer(b"".join(values))])


def to_numbers(column: Any) -> NDArray[np.float64]:
    """Float64 [n] of a float64 column, ``nan`` for null."""
    found = [np.zeros(0)]
    for chunk in column.chunks:
        if not len(chunk):
            continue
        valid, content = chunk.buffers()
        rows = slice(chunk.offset, chunk.offset + len(chunk))
        values = np.frombuffer(content, dtype=np.float64)[rows].copy()
        if valid is not None:
            values[np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")[rows] == 0] = np.nan
        found.append(values)
    return np.concatenate(found)


def _places(values: Sequence[Sequence[Any] | dict[str, Any]]) -> Any:
    import pyarrow as pa

    return pa.Array.from_buffers(pa.int32(), len(values) + 1, [None, _offsets(values)])


def _offsets(values: Sequence[Any]) -> Any:
    import pyarrow as pa

    places = np.cumsum([0, *(len(value) for value in values)], dtype=np.int64)
    if places[-1] >= 2**31:
        raise ValueError(f"{len(values)} values of {places[-1]} bytes or items in all: more than one column may hold")
    return pa.py_buffer(places.astype(np.int32))
