"""A stored index is mapped into memory, equals what was stored, and is never unpickled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from infimed_core.plan.index import load_arrays, save_arrays

KINDS = st.sampled_from([np.int64, np.uint64, np.int32, np.float64, np.bool_, np.int8])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text("abcde", min_size=1, max_size=5).filter(lambda name: name != "facts"),
                       KINDS.flatmap(lambda kind: arrays_of.arrays(kind, arrays_of.array_shapes(max_dims=3, min_side=0))), max_size=5))  # fmt: skip  # noqa: E501
def test_arrays_come_back_bit_equal_and_mapped(tmp_path, arrays):
    path = tmp_path / "stored.npz"
    save_arrays(path, {"digest": "é", "number": 3}, arrays)
    facts, found = load_arrays(path)
    assert facts == {"digest": "é", "number": 3} and found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
        assert isinstance(found[name], np.memmap) == bool(array.size)
        if array.size:
            with pytest.raises(ValueError, match="read-only"):
                found[name][...] = 0


def test_a_mapped_array_outlives_the_file_that_replaces_it(tmp_path: Path):
    path = tmp_path / "stored.npz"
    save_arrays(path, {}, {"a": np.arange(5)})
    before = load_arrays(path)[1]["a"]
    save_arrays(path, {}, {"a": np.arange(9) + 100})
    assert before.tolist() == [0, 1, 2, 3, 4] and load_arrays(path)[1]["a"].sum() == 936


def test_pickled_objects_are_refused(tmp_path: Path):
    np.savez(tmp_path / "bad.npz", facts=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match="pickled objects"):
        load_arrays(tmp_path / "bad.npz")


def test_a_compressed_file_is_read_too(tmp_path: Path):
    facts = np.frombuffer(b"{}", dtype=np.uint8)
    np.savez_compressed(tmp_path / "small.npz", facts=facts, a=np.arange(7))
    assert load_arrays(tmp_path / "small.npz")[1]["a"].tolist() == list(range(7))
