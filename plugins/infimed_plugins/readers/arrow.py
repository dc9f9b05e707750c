"""Rows of Arrow tables as Python has them: names for coded classes, and a cell that cannot be read its own fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from infimed_core import DataError

Decode = Callable[[Any], Any]


def rows_of(table: Any, decoders: Mapping[str, Decode]) -> Iterator[dict[str, Any]]:
    """The rows of a table or record batch; a cell that Python cannot hold is the ``DataError`` that says why."""
    columns = {name: _cells(table.column(number), name) for number, name in enumerate(table.schema.names)}
    for name, decode in decoders.items():
        if name in columns:
            columns[name] = [value if isinstance(value, DataError) else decode(value) for value in columns[name]]
    for number in range(table.num_rows):
        yield {name: cells[number] for name, cells in columns.items()}


def _cells(column: Any, name: str) -> list[Any]:
    import pyarrow as pa

    try:
        found = column.to_pylist()
    except Exception:  # a date out of range, a time zone that is not known here, a text that is no UTF-8
        found = [_cell(column, number, name) for number in range(len(column))]
    if column.type in (pa.float32(), pa.float16()):  # 0.1 of 32 bits is no 0.10000000149011612
        return [float(str(np.float32(value))) if isinstance(value, float) else value for value in found]
    return found


def _cell(column: Any, number: int, name: str) -> Any:
    try:
        return column[number].as_py()
    except Exception as error:
        return DataError("bad_row", f"column '{name}' cannot be read ({type(error).__name__}: {error})")


def decoders_of(schema: Any) -> dict[str, Decode]:
    """What turns the coded columns of a Parquet file that Hugging Face ``datasets`` wrote into names."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: found for name, feature in features.items() if (found := decoder_of(feature)) is not None}
    except (KeyError, ValueError, RecursionError, TypeError, AttributeError):
        return {}


def decoder_of(feature: Any) -> Decode | None:
    """For a feature as ``datasets`` writes it in JSON; ``None`` where nothing in it is coded."""
    if isinstance(feature, list) and len(feature) == 1:
        return _each(decoder_of(feature[0]))
    if not isinstance(feature, dict):
        return None
    kind = feature.get("_type")
    if kind == "ClassLabel":
        return _naming(list(feature.get("names") or ()))
    if kind in ("Sequence", "LargeList", "List"):
        return _each(decoder_of(feature.get("feature")))
    if kind is None:
        parts = {name: found for name, inner in feature.items() if (found := decoder_of(inner)) is not None}
        return _struct(parts) if parts else None
    return None


def _naming(names: list[str]) -> Decode:
    def decode(value: Any) -> Any:
        if not isinstance(value, int):
            return value
        if 0 <= value < len(names):
            return names[value]
        if value == -1:  # how datasets write a label that is not given
            return None
        return DataError("bad_row", f"class {value} has no name (there are {len(names)})")

    return decode


def _each(inner: Decode | None) -> Decode | None:
    if inner is None:
        return None

    def decode(value: Any) -> Any:
        if isinstance(value, dict):  # a sequence of structs is kept as a struct of sequences
            return inner(dict(value))
        return [inner(item) for item in value] if isinstance(value, list) else value

    return decode


def _struct(parts: Mapping[str, Decode]) -> Decode:
    def decode(value: Any) -> Any:
        if isinstance(value, list):
            return [decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            name: _over(parts[name], inner) if name in parts and inner is not None else inner
            for name, inner in value.items()
        }

    return decode


def _over(decode: Decode, value: Any) -> Any:
    return [decode(item) for item in value] if isinstance(value, list) else decode(value)
