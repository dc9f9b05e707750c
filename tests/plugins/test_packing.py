"""Packers: nothing twice, nothing lost, no row over budget, rows nearly full."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from infimed_core import Packs
from infimed_core.plugins import load_plugins
from infimed_core.testing import check_component, check_packer
from infimed_plugins.packing.fitting import BestFit, NextFit
from infimed_plugins.packing.padding import Padded, PaddedSorted

PACKERS = {name.split("/")[1]: found for name, found in load_plugins().components("packer").items()}


def lengths(count, seed=0):
    """A long-tailed mix: mean about 1,000 tokens."""
    return np.clip(np.random.default_rng(seed).lognormal(6.5, 0.85, count), 16, 8192).astype(np.int64)


def costs(count, seed=0):
    random = np.random.default_rng(seed)
    images = random.integers(0, 4, count)
    return np.stack([lengths(count, seed), images * random.integers(1, 900, count), images], axis=1)


def fill(packer, cost):
    packs = packer.group(cost, packer.budget)
    return cost[packs.members, 0].sum() / (len(packs) * packer.row_tokens)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(sorted(PACKERS)),
    arrays.arrays(np.int64, st.tuples(st.integers(0, 60), st.just(3)), elements=st.integers(0, 50)),
    st.integers(1, 60), st.none() | st.integers(1, 60), st.none() | st.integers(1, 60), st.integers(1, 20),
)  # fmt: skip
def test_every_index_is_in_one_row_or_fits_none_and_no_row_is_over_budget(
    name, cost, row_tokens, row_patches, row_images, window
):
    cost[:, 0] += 1  # a sample has a token
    settings = {"row_tokens": row_tokens, "row_patches": row_patches, "row_images": row_images}
    if "window" in PACKERS[name].model_fields:
        settings["window"] = window
    packer = PACKERS[name](**settings)
    check_packer(packer, cost)
    packs = packer.group(cost, packer.budget)
    assert (np.diff(packs.offsets) > 0).all()
    for index in range(len(packs)):
        row = cost[packs[index]]
        assert (row.sum(axis=0) <= packer.budget).all()
        if packer.padded:
            assert row[:, 0].max() * len(row) <= row_tokens and len(row) <= packer.batch_size


@pytest.mark.parametrize("name", sorted(PACKERS))
def test_no_sample_gives_no_row(name):
    packs = PACKERS[name]().group(np.zeros((0, 3), dtype=np.int64), PACKERS[name]().budget)
    assert isinstance(packs, Packs) and len(packs) == 0


def test_best_fit_leaves_almost_nothing_empty():
    cost = costs(20_000)
    cost[:, 1:] = 0
    assert fill(BestFit(row_tokens=8192), cost) >= 0.9965
    assert fill(BestFit(row_tokens=8192), cost) > fill(NextFit(row_tokens=8192), cost) + 0.05


def test_best_fit_fills_rows_also_where_images_count():
    cost = costs(20_000)
    packer = BestFit(row_tokens=8192, row_patches=20_000, row_images=40)
    assert fill(packer, cost) >= 0.98
    check_packer(packer, cost)


def test_rows_bound_by_patches_are_full_of_patches():
    cost = costs(5000)
    packer = BestFit(row_tokens=8192, row_patches=3000)
    packs = packer.group(cost, packer.budget)
    assert cost[packs.members, 1].sum() / (len(packs) * 3000) >= 0.9


@pytest.mark.parametrize("row_patches", [9000, 12_000, 16_000])
def test_several_budgets_pack_well_also_where_two_are_equally_scarce(row_patches):
    random = np.random.default_rng(0)
    images = random.choice(3, 20_000, p=[0.3, 0.55, 0.15])
    visual = images * random.integers(64, 1025, 20_000)
    text = np.clip(random.lognormal(5.55, 1.4, 20_000), 16, 4000).astype(np.int64)
    cost = np.stack([text + visual, visual * 4, images], axis=1)
    packer = BestFit(row_tokens=8192, row_patches=row_patches, row_images=24)
    fits = (cost <= packer.budget).all(axis=1)
    fewest = (cost[fits].sum(axis=0) / packer.budget).max()
    assert len(packer.group(cost, packer.budget)) <= fewest / 0.88


def test_best_fit_takes_the_fullest_row_that_has_room():
    cost = np.array([[60, 0, 0], [50, 0, 0], [45, 0, 0], [40, 0, 0]])
    packer = BestFit(row_tokens=100)
    assert [packer.group(cost, packer.budget)[i].tolist() for i in range(2)] == [[0, 3], [1, 2]]


def test_a_row_stays_open_until_more_are_open_than_may_be():
    cost = np.array([[60, 0, 0], [70, 0, 0], [30, 0, 0], [40, 0, 0]])
    packer = BestFit(row_tokens=100)
    assert [packer.group(cost, packer.budget)[i].tolist() for i in range(2)] == [[0, 3], [1, 2]]
    packer = BestFit(row_tokens=100, open_rows=1)  # the second row closes the first, the fuller one then is the second
    assert [packer.group(cost, packer.budget)[i].tolist() for i in range(3)] == [[0], [1, 2], [3]]


def same_kind_share(packs, kind):
    """Share of the pairs of samples within a row that are of one kind, over that of all pairs."""
    row_of = np.repeat(np.arange(len(packs)), np.diff(packs.offsets))
    counts = np.zeros((len(packs), kind.max() + 1))
    np.add.at(counts, (row_of, kind[packs.members]), 1)
    sizes, total = counts.sum(axis=1), counts.sum(axis=0)
    within = (counts * (counts - 1)).sum() / (sizes * (sizes - 1)).sum()
    return within / ((total * (total - 1)).sum() / (total.sum() * (total.sum() - 1)))


TEMPLATED = {
    # tokens of each kind of question (image and template), as data made from a few templates has them
    "five templates": (np.array([61, 83, 112, 140, 205]), 6),
    "many like ones": (np.array([97, 98, 99, 100, 101, 102, 103, 104]), 1),
    "a rare long kind": (np.array([50, 50, 50, 50, 50, 50, 50, 700]), 3),
}


@pytest.mark.parametrize("budgets", [{}, {"row_patches": 3000, "row_images": 12}])
@pytest.mark.parametrize("name", sorted(TEMPLATED))
def test_best_fit_mixes_kinds_within_rows_as_a_random_order_does(name, budgets):
    random = np.random.default_rng(5)
    sizes, spread = TEMPLATED[name]
    kind = random.integers(0, len(sizes), 8000)
    cost = np.stack(
        [sizes[kind] + random.integers(0, spread, len(kind)), np.full(len(kind), 144), kind * 0 + 1], axis=1
    )
    packer = BestFit(row_tokens=1024, **budgets)
    packs = packer.group(cost, packer.budget)
    assert same_kind_share(packs, kind) <= 1.1


def test_best_fit_mixes_lengths_within_rows_as_a_random_order_does():
    cost = costs(30_000)
    decile = np.searchsorted(np.quantile(cost[:, 0], np.arange(1, 10) / 10), cost[:, 0], side="right")
    for budgets in ({}, {"row_patches": 20_000, "row_images": 40}):
        packer = BestFit(row_tokens=8192, **budgets)
        assert same_kind_share(packer.group(cost, packer.budget), decile) <= 1.1


def test_next_fit_closes_a_row_with_the_first_sample_that_has_no_room():
    cost = np.array([[60, 9, 1], [40, 1, 1], [50, 0, 0], [10, 11, 1], [200, 0, 0], [40, 0, 0]])
    packer = NextFit(row_tokens=100, row_patches=10)
    packs = packer.group(cost, packer.budget)
    assert [packs[i].tolist() for i in range(len(packs))] == [[0, 1], [2, 5]]


def test_next_fit_keeps_the_order():
    packs = NextFit(row_tokens=2000).group(costs(500), NextFit(row_tokens=2000).budget)
    assert (np.diff(packs.members) > 0).all()


def test_sorted_padding_is_less_than_random_padding():
    cost = costs(2000)

    def padding(packer):
        packs = packer.group(cost, packer.budget)
        return sum(int((cost[packs[i], 0].max() - cost[packs[i], 0]).sum()) for i in range(len(packs)))

    settings = {"row_tokens": 70_000}
    assert padding(PaddedSorted(**settings)) < 0.3 * padding(Padded(**settings))
    assert {len(Padded(**settings).group(cost, Padded(**settings).budget)[i]) for i in range(250)} == {8}


@pytest.mark.parametrize("name", sorted(PACKERS))
def test_settings_survive_the_way_to_a_worker(name):
    check_component(PACKERS[name](row_tokens=77, row_images=3))
