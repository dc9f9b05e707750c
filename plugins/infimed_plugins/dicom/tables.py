"""DICOM's look-up tables: modality, VOI and palette, in every way in which files write them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError


@dataclass(frozen=True, slots=True)
class Table:
    """A look-up table: ``values[0]`` is for ``first`` and below, the last for all above; ``top`` is white."""

    first: int
    values: NDArray[np.int64]
    top: float

    def apply(self, pixels: NDArray[Any]) -> NDArray[np.int64]:
        """The table's values of ``pixels``; numbers with a fraction are rounded first."""
        whole = pixels if np.issubdtype(pixels.dtype, np.integer) else np.rint(pixels)
        return self.values[np.clip(whole.astype(np.int64) - self.first, 0, len(self.values) - 1)]


def read_table(item: Any, signed: bool, little_endian: bool) -> Table:
    """The table of an item of ``ModalityLUTSequence`` or ``VOILUTSequence``.

    ``signed``: the values that go into it may be negative, so that the first of them is written as a signed number
    whatever its VR says (DICOM PS3.3 C.11.1.1.1 and C.11.2.1.1).
    """
    num_entries, first, bits = _descriptor(item, "LUTDescriptor", signed)
    values = _entries(item.get("LUTData"), num_entries, little_endian)
    return Table(first, values, _top(values, bits))


def read_palette(dataset: Any, signed: bool, little_endian: bool) -> tuple[Table, Table, Table]:
    """The red, green and blue tables, plain or segmented, with one ``top`` for the three.

    A palette of 8 bits may lie in words of 16, and a palette that calls itself one of 16 bits may use 8 of them.
    """
    tables = []
    for colour in ("Red", "Green", "Blue"):
        num_entries, first, bits = _descriptor(dataset, f"{colour}PaletteColorLookupTableDescriptor", signed)
        data = dataset.get(f"{colour}PaletteColorLookupTableData")
        segmented = dataset.get(f"Segmented{colour}PaletteColorLookupTableData")
        if data is None and segmented is not None:
            words = np.frombuffer(segmented, np.uint8 if bits <= 8 else "<u2" if little_endian else ">u2")
            values = _expanded(words.tolist(), num_entries, bits)
        else:
            values = _entries(data, num_entries, little_endian)
        tables.append((first, values, bits))
    everything = np.concatenate([values for _, values, _ in tables])
    top = 255.0 if everything.max() <= 255 else _top(everything, max(bits for _, _, bits in tables))
    red, green, blue = (Table(first, values, top) for first, values, _ in tables)
    return red, green, blue


def _top(values: NDArray[np.int64], bits: int) -> float:
    """The brightest value of a table of ``bits`` bits; where it holds larger ones it has more bits than it says."""
    return float(2 ** max(bits, int(values.max()).bit_length(), 1) - 1)


def _descriptor(item: Any, keyword: str, signed: bool) -> tuple[int, int, int]:
    """Number of entries, first value, bits per entry."""
    raw = item.get(keyword)
    if raw is None or isinstance(raw, (str, bytes)) or len(raw) != 3:
        raise DataError("corrupt", f"{keyword} must be three numbers")
    num_entries, first, bits = (int(number) for number in raw)
    num_entries = (num_entries & 0xFFFF) or 2**16
    first = ((first & 0xFFFF) ^ 0x8000) - 0x8000 if signed else first & 0xFFFF
    if not 1 <= bits <= 16:
        raise DataError("corrupt", f"{keyword}: {bits} bits per entry")
    return num_entries, first, bits


def _entries(data: Any, num_entries: int, little_endian: bool) -> NDArray[np.int64]:
    """The entries of a table that may be bytes, bytes two to a word, or words."""
    if data is None:
        raise DataError("corrupt", "a look-up table without data")
    if isinstance(data, (bytes, bytearray)):
        raw = bytes(data)
        if len(raw) >= 2 * num_entries:
            values = np.frombuffer(raw[: 2 * num_entries], "<u2" if little_endian else ">u2")
        else:
            values = np.frombuffer(raw, np.uint8)
    else:
        listed = [data] if isinstance(data, int) else list(data)
        values = np.asarray([int(number) & 0xFFFF for number in listed], np.uint16)
        if len(values) < num_entries <= 2 * len(values):  # two entries of 8 bits in each word
            values = values.astype("<u2").view(np.uint8)
    if len(values) < num_entries:
        raise DataError("corrupt", f"a look-up table of {num_entries} entries has data for {len(values)}")
    return values[:num_entries].astype(np.int64)


def _expanded(words: list[int], num_entries: int, bits: int) -> NDArray[np.int64]:
    """A segmented palette written out, never longer than its descriptor says.

    Source: DICOM PS3.3 C.7.9.2: segments are discrete (0), linear (1) or a repetition of earlier ones (2).
    """
    entries: list[int] = []

    def read(position: int, most: int | None) -> None:
        for number in itertools.count():
            if number == most or position + 1 >= len(words) or len(entries) >= num_entries:
                return
            kind, length = words[position : position + 2]
            position += 2
            if kind == 0:
                entries.extend(words[position : position + length])
                position += length
            elif kind == 1 and entries:
                steps = np.linspace(entries[-1], words[position], length + 1)[1:]
                entries.extend(int(value) for value in np.rint(steps))
                position += 1
            elif kind == 2 and most is None:  # repetitions within repetitions are not allowed
                width = 4 if bits <= 8 else 2
                start = sum(part << (8 if bits <= 8 else 16) * at for at, part in enumerate(words[position:][:width]))
                read(start if bits <= 8 else start // 2, length)
                position += width
            else:
                raise DataError("corrupt", f"a segmented palette with a segment of kind {kind}")

    read(0, None)
    if len(entries) < num_entries:
        raise DataError("corrupt", f"a segmented palette of {num_entries} entries has segments for {len(entries)}")
    return np.asarray(entries[:num_entries], np.int64)
