"""The counts of a planned stage: every selected sample is in a row, or in none for one reason."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from infimed_core import Fault, Mix, Stage
from infimed_core.plan.index import Index
from infimed_core.plan.planning import plan_stage
from infimed_core.train.stage_planning import sample_counts
from infimed_plugins.packing.fitting import BestFit
from infimed_plugins.resolution.schedulers import Native


class NoImages:
    """An encoder for text alone."""

    max_tokens = None
    identity = "none"


def made_index(tokens: list[int], kinds: list[int], usable: list[bool]) -> Index:
    num = len(tokens)
    faults = tuple(
        Fault(sample_id=str(row), code=f"code_{row % 2}", detail="") for row in range(num) if not usable[row]
    )
    return Index(
        text=np.array(tokens, dtype=np.int64),
        supervised=np.ones(num, dtype=np.int64),
        image_offsets=np.zeros(num + 1, dtype=np.int64),
        sizes=np.zeros((0, 2), dtype=np.int64),
        usable=np.array(usable, dtype=bool),
        tag_codes={"kind": np.array(kinds, dtype=np.int32)},
        tag_values={"kind": ["a", "b"]},
        faults=faults,
        digest="index",
    )


rows = st.lists(
    st.tuples(st.integers(1, 12), st.integers(-1, 1), st.booleans(), st.booleans(), st.booleans()),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(rows=rows, draws=st.integers(1, 90), mixed=st.booleans())
def test_every_selected_sample_counts_once(rows, draws, mixed):
    tokens, kinds, usable, selected, held = map(list, zip(*rows, strict=True))
    index, selected, held = made_index(tokens, kinds, usable), np.array(selected), np.array(held)
    allowed = selected & index.usable & ~held
    mix = (Mix(where={"kind": "a"}),) if mixed and (allowed & (np.array(kinds) == 0)).any() else ()
    stage = Stage(name="one", num_samples=draws, rows_per_step=2, mix=mix)
    plan = plan_stage(index, stage, Native(), BestFit(row_tokens=10), NoImages(), 0, selected & ~held)
    num_planned, left_out = sample_counts(index, stage, plan, selected, held)
    assert num_planned + sum(left_out.values()) == selected.sum()
    assert num_planned == len(np.unique(plan.rows[plan.members]))
    assert left_out.get("held_out", 0) == (selected & held & index.usable).sum()
    assert sum(left_out.get(f"code_{number}", 0) for number in (0, 1)) == (selected & ~index.usable).sum()
    if draws < allowed.sum() and not mix:
        assert left_out.get("not_drawn", 0) == allowed.sum() - len(np.unique(plan.rows))
