"""Plans: every draw in one row or a counted drop, inside the budget, the same for the same seed, by arithmetic."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infimed_core import InfimedError, Mix, Packer, Packs, Phase, ResolutionScheduler, Stage
from infimed_core.plan.index import Index
from infimed_core.plan.mixing import mixing_warnings
from infimed_core.plan.planning import plan_stage
from infimed_core.plan.stage_plan import DROP_REASONS, NATIVE, StagePlan

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
from planning_fakes import TinyEncoder
from utilisation import utilisation

from infimed_plugins.packing.fitting import BestFit


class Caps(ResolutionScheduler):
    caps: tuple[int | None, ...] = (None,)

    def plan(self, num_samples):
        ends = [num_samples * (n + 1) // len(self.caps) for n in range(len(self.caps))]
        return [Phase(a, b, cap) for a, b, cap in zip([0, *ends], ends, self.caps, strict=False)]


class InOrder(Packer):
    """Next fit: enough of a packer for these tests."""

    def group(self, costs, budget):
        groups, total = [], budget + 1
        for i in np.flatnonzero((costs <= budget).all(axis=1)):
            if (total + costs[i] > budget).any():
                groups.append([])
                total = np.zeros(3, dtype=np.int64)
            groups[-1].append(int(i))
            total = total + costs[i]
        return Packs.from_lists(groups)


def make_index(count, seed=0, most_images=3, most_text=60):
    random = np.random.default_rng(seed)
    images = random.integers(0, most_images + 1, count)
    offsets = np.concatenate([[0], np.cumsum(images)])
    text = random.integers(1, most_text, count)
    codes = random.integers(0, 3, count).astype(np.int32)
    return Index(
        text, text // 3, offsets, random.integers(1, 200, (offsets[-1], 2)), random.random(count) > 0.1,
        {"source": codes}, {"source": ["a", "b", "c"]}, (), f"index-{seed}",
    )  # fmt: skip


def plan(index, seed=0, caps=(None,), packer=None, allowed=None, **stage):
    allowed = np.ones(len(index), dtype=bool) if allowed is None else allowed
    packer = packer or InOrder(row_tokens=200)
    return plan_stage(index, Stage(name="s", **stage), Caps(caps=caps), packer, TinyEncoder(), seed, allowed)


def same(one, two):
    assert one.plan_hash == two.plan_hash
    assert np.array_equal(one.rows, two.rows) and np.array_equal(one.members, two.members)
    assert np.array_equal(one.offsets, two.offsets) and np.array_equal(one.steps, two.steps)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 120), st.integers(0, 99), st.lists(st.sampled_from([1, 4, 9, 30, None]), min_size=1, max_size=4),
    st.integers(20, 400), st.sampled_from([None, 40, 300]), st.sampled_from([None, 1, 2]), st.integers(1, 9),
    st.floats(0.2, 3.0),
)  # fmt: skip
def test_every_draw_is_in_one_row_or_a_counted_drop_and_no_row_is_over_budget(
    count, seed, caps, row_tokens, row_patches, row_images, rows_per_step, epochs
):
    index = make_index(count, seed)
    packer = InOrder(row_tokens=row_tokens, row_patches=row_patches, row_images=row_images)
    made = plan(index, seed, caps, packer, rows_per_step=rows_per_step, epochs=epochs)
    facts = made.describe()
    assert sorted(made.members.tolist()) == np.flatnonzero(made.dropped == 0).tolist()
    assert facts["num_drawn"] == len(made.members) + sum(facts["dropped"].values())
    for values, limit in zip((made.tokens, made.patches, made.images), packer.budget, strict=True):
        assert (made.pack_sums(values) <= limit).all()
    assert made.steps[0] == 0 and made.steps[-1] == len(made.packs)
    assert (np.diff(made.steps) >= 1).all() and (np.diff(made.steps) <= rows_per_step).all()
    assert sum(phase["num_samples"] for phase in facts["phases"]) == int((made.dropped == 0).sum())
    for number in range(len(made.packs)):
        start, stop, _ = made.phases[made.pack_phases[number]]
        assert ((made.packs[number] >= start) & (made.packs[number] < stop)).all()
    # what was planned is what the encoder's arithmetic says at each sample's own cap
    for draw, row in enumerate(made.rows):
        sizes = index.sizes[index.image_offsets[row] : index.image_offsets[row + 1]]
        cap = None if made.caps[draw] == NATIVE else int(made.caps[draw])
        visual, patches = TinyEncoder().visual_sizes(sizes[:, 0], sizes[:, 1], cap)
        assert made.tokens[draw] == index.text[row] + visual.sum()
        assert made.patches[draw] == patches.sum() and made.images[draw] == len(sizes)


@pytest.mark.parametrize("epochs", [1.0, 2.0])
def test_an_epoch_draws_every_usable_sample_once(epochs):
    index = make_index(80)
    allowed = np.arange(80) % 5 != 0
    made = plan(index, allowed=allowed, epochs=epochs)
    counts = np.bincount(made.rows, minlength=80)
    assert counts.tolist() == (epochs * (allowed & index.usable)).astype(int).tolist()
    half = len(made.rows) // int(epochs)
    assert len(np.unique(made.rows[:half])) == half


@pytest.mark.parametrize("caps", [(None,), (2, 9, None)])
@pytest.mark.parametrize("length", [{"epochs": 3.0}, {"epochs": 2.5}, {"num_samples": 700}, {"num_steps": 70}])
def test_an_epoch_trains_every_sample_once_before_any_twice(caps, length):
    index = make_index(300)
    made = plan(index, caps=caps, rows_per_step=4, **length)
    trained = made.rows[made.members]  # in the order of the steps
    size = int(index.usable.sum())
    step_of = np.searchsorted(made.steps, np.repeat(np.arange(len(made.packs)), np.diff(made.offsets)), "right") - 1
    lost = len(np.setdiff1d(np.flatnonzero(index.usable), trained))
    assert lost == 0 or made.describe()["dropped"]
    for turn in range(1, len(trained) // size):
        counts = np.bincount(trained[: turn * size], minlength=300)[index.usable]
        assert counts.max() == counts.min() == turn
    assert len(np.unique(step_of * 300 + trained)) == len(trained)  # nor does a step hold a sample twice
    assert made.mixing["repeats_in_step"] == 0


def test_each_source_of_a_mix_is_trained_whole_before_it_repeats_where_a_pass_is_many_steps():
    index = make_index(4000, most_images=0)
    mix = (Mix(where={"source": "a"}, weight=3), Mix(where={"source": "b"}, weight=1))
    made = plan(index, mix=mix, epochs=2.0, rows_per_step=2)
    trained = made.rows[made.members]
    for code in (0, 1):
        own = trained[index.tag_codes["source"][trained] == code]
        size = int((index.usable & (index.tag_codes["source"] == code)).sum())
        for start in range(0, len(own), size):
            part = own[start : start + size]
            assert len(np.unique(part)) == len(part)
    assert made.mixing["repeats_in_step"] == 0


@pytest.mark.parametrize("mix_epoch", ["all", "shortest", "longest"])
def test_an_epoch_of_a_mix_ends_where_it_says_and_tells_how_often_each_source_is_seen(mix_epoch):
    index = make_index(900)
    mix = (Mix(where={"source": "a"}, weight=3), Mix(where={"source": ("b", "c")}, weight=1))
    made = plan(index, mix=mix, mix_epoch=mix_epoch, rows_per_step=4)
    facts = made.describe()["sources"]
    for source, codes in zip(facts, ([0], [1, 2]), strict=True):
        matching = index.usable & np.isin(index.tag_codes["source"], codes)
        assert source["num_samples"] == int(matching.sum())
        assert source["num_drawn"] == int(np.isin(index.tag_codes["source"][made.rows], codes).sum())
        assert source["passes"] == pytest.approx(source["num_drawn"] / source["num_samples"])
    passes = [source["passes"] for source in facts]
    if mix_epoch == "all":
        assert len(made.rows) == int(index.usable.sum()) and passes[0] > 1 > passes[1]
    else:
        # shortest: the first to be whole is whole; longest: the last is
        assert {"shortest": max, "longest": min}[mix_epoch](passes) == pytest.approx(1.0, abs=0.01)
        assert mix_epoch == "longest" or np.bincount(made.rows).max() == 1


@pytest.mark.parametrize("sizes", [(150, 40, 40), (40, 330, 330), (30, 500, 90), (20, 20, 900)])
def test_steps_mix_kinds_and_lengths_as_random_draws_do_even_where_cost_tells_the_kind(sizes):
    index = make_index(6000, most_images=0)
    index.text[:] = np.array(sizes)[index.tag_codes["source"]]  # a row holds few of one kind, or many of another
    made = plan(index, packer=BestFit(row_tokens=1024), rows_per_step=8)
    for shares in made.mixing["kinds"].values():
        assert shares["step"] <= 1.1 * shares["random"]
    assert made.mixing["far"] == []


class Sorted(InOrder):
    def group(self, costs, budget):
        order = np.argsort(costs[:, 0], kind="stable")
        packs = super().group(costs[order], budget)
        return Packs(order[packs.members], packs.offsets)


def test_a_plan_far_from_random_draws_or_with_small_steps_is_told():
    index = make_index(3000, most_images=0)
    stage = Stage(name="s", rows_per_step=1)
    made = plan(index, packer=Sorted(row_tokens=500))
    told = mixing_warnings(stage, made.mixing)
    assert made.mixing["far"] == ["length"] and "far from random draws" in told[0] and "'length'" in told[0]
    made = plan(index, packer=InOrder(row_tokens=100))
    told = mixing_warnings(stage, made.mixing)
    assert len(told) == 1 and "step holds about 2.61" in told[0] and "rows_per_step: 4" in told[0]
    assert mixing_warnings(stage, plan(index, packer=InOrder(row_tokens=500)).mixing) == []
    assert "at most 4" in mixing_warnings(stage, {}, 4)[0] and mixing_warnings(stage, {}, None) == []


def test_rows_are_dealt_evenly_so_no_step_is_much_smaller_than_the_others():
    made = plan(make_index(400), rows_per_step=7, epochs=2.0)
    sizes = np.diff(made.steps)
    assert sizes.max() <= 7 and sizes.min() >= 6


def test_sources_are_drawn_by_weight_and_repeat_only_after_a_full_pass():
    index = make_index(90)
    mix = (Mix(where={"source": "a"}, weight=3), Mix(where={"source": "b"}, weight=1))
    made = plan(index, mix=mix, num_samples=201)
    source = index.tag_codes["source"][made.rows]
    assert np.bincount(source, minlength=3).tolist() == [151, 50, 0]
    for code in (0, 1):
        drawn = made.rows[source == code]
        size = int((index.usable & (index.tag_codes["source"] == code)).sum())
        for start in range(0, len(drawn) - size + 1, size):
            assert len(np.unique(drawn[start : start + size])) == size


@pytest.mark.parametrize("caps", [(None,), (2, 9, None)])
@pytest.mark.parametrize("wanted", [1, 7, 40, 211])
def test_a_stage_as_long_as_its_steps_has_exactly_so_many(caps, wanted):
    made = plan(make_index(90), caps=caps, packer=InOrder(row_tokens=300), rows_per_step=3, num_steps=wanted)
    facts = made.describe()
    assert facts["num_steps"] == wanted
    assert facts["num_drawn"] == len(made.members) + sum(facts["dropped"].values())
    # the draws are as few as they can be: hardly any is cut off at the end
    assert facts["dropped"].get("beyond_length", 0) <= 3 * made.describe()["num_drawn"] / facts["num_rows"] * len(caps)
    assert made.steps[-1] == len(made.packs) == len(made.pack_phases)


@pytest.mark.parametrize("caps", [(None,), (2, 9, None)])
@pytest.mark.parametrize("wanted", [300, 5000, 40_000])
def test_a_stage_as_long_as_its_tokens_is_within_a_sample_of_them(caps, wanted):
    made = plan(make_index(90), caps=caps, packer=InOrder(row_tokens=1000), num_tokens=wanted)
    kept = made.tokens[made.dropped == 0]
    assert abs(kept.sum() - wanted) <= made.tokens.max()


def test_a_mix_by_tokens_gives_each_source_its_share_of_the_tokens():
    index = make_index(300)
    index.text[index.tag_codes["source"] == 0] *= 6  # samples of a are much longer than those of b
    mix = (Mix(where={"source": "a"}, weight=1), Mix(where={"source": "b"}, weight=3))
    shares = {}
    for by in ("samples", "tokens"):
        made = plan(index, caps=(4, 9), packer=InOrder(row_tokens=2000), mix=mix, mix_by=by, num_samples=2000)
        source = index.tag_codes["source"][made.rows]
        shares[by] = (np.mean(source == 0), made.tokens[source == 0].sum() / made.tokens.sum())
    assert shares["samples"][0] == 0.25 and shares["samples"][1] > 0.4
    assert shares["tokens"][0] < 0.2 and shares["tokens"][1] == pytest.approx(0.25, abs=0.02)


def test_a_stage_has_one_length():
    with pytest.raises(ValueError, match="num_samples and num_steps are two lengths"):
        Stage(name="s", num_samples=3, num_steps=3)


def test_steps_or_tokens_that_no_sample_can_fill_are_an_empty_plan():
    index = make_index(20, most_images=0)
    for length in ({"num_steps": 5}, {"num_tokens": 50}):
        made = plan(index, packer=InOrder(row_tokens=1), allowed=index.text > 1, **length)
        assert len(made.packs) == 0 and (made.dropped > 0).all()


def test_a_mix_that_matches_nothing_is_told():
    with pytest.raises(InfimedError, match=r"stage 's': mix\.1 .*nowhere"):
        plan(make_index(20), mix=(Mix(), Mix(where={"source": "nowhere"})))


def test_no_sample_at_all_is_an_empty_plan():
    made = plan(make_index(10), allowed=np.zeros(10, dtype=bool))
    assert made.describe()["num_drawn"] == 0 and len(made.packs) == 0 and utilisation(made, 8) == 1.0


def test_same_seed_same_plan_and_another_seed_another():
    index = make_index(100)
    same(plan(index, 5, (4, None)), plan(make_index(100), 5, (4, None)))
    assert plan(index, 5).plan_hash != plan(index, 6).plan_hash


def test_a_plan_follows_index_and_cap():
    assert plan(make_index(50), caps=(4,)).plan_hash != plan(make_index(50), caps=(5,)).plan_hash
    from dataclasses import replace

    assert plan(replace(make_index(50), digest="other")).plan_hash != plan(make_index(50)).plan_hash


def test_the_cap_of_a_phase_is_that_of_its_samples():
    made = plan(make_index(90), caps=(2, 8, None), packer=InOrder(row_tokens=2000))
    for (start, stop, cap), wanted in zip(made.phases, (2, 8, NATIVE), strict=True):
        assert cap == wanted and (made.caps[start:stop] == wanted).all()


def test_a_sample_too_long_is_shrunk_before_it_is_dropped_and_each_drop_has_its_reason():
    text = np.array([10, 10, 500, 90, 10])
    offsets = np.array([0, 1, 2, 2, 3, 7])
    sizes = np.array([[160, 160], [16, 16], [160, 160], *[[16, 16]] * 4])
    index = Index(text, text, offsets, sizes, np.ones(5, dtype=bool), {}, {}, (), "x")
    made = plan(index, packer=InOrder(row_tokens=100, row_images=2))
    reasons = dict(zip(made.rows.tolist(), [DROP_REASONS[code] for code in made.dropped], strict=True))
    assert reasons == {0: "", 1: "", 2: "text_too_long", 3: "too_long", 4: "too_many_images"}
    shrunk = int(made.caps[made.rows == 0][0])
    assert 80 <= shrunk <= 90 and made.caps[made.rows == 1] == NATIVE  # as little as is needed, nobody else
    assert made.tokens[made.rows == 0] == 10 + shrunk
    assert made.describe()["shrunk"] == 1
    told = {what: sorted(made.rows[draws].tolist()) for what, draws in made.exceptions().items()}
    assert told.pop("images made smaller than the resolution says, to fit a row") == [0]
    assert sum(map(len, told.values())) == (made.dropped > 0).sum()
    assert all(what.removeprefix("left out as ") in made.describe()["dropped"] for what in told)


def test_a_stage_may_refuse_samples_too_long_instead_of_dropping_them():
    text = np.array([10, 10, 500])
    offsets = np.array([0, 1, 1, 1])
    index = Index(text, text, offsets, np.array([[160, 160]]), np.ones(3, dtype=bool), {}, {}, (), "x")
    with pytest.raises(InfimedError, match=r"1 sample\(s\) fit no row of 100 tokens.*text_too_long: 1.*on line 3"):
        plan(index, packer=InOrder(row_tokens=100), overlong="error")
    allowed = np.array([True, True, False])
    made = plan(index, packer=InOrder(row_tokens=100), overlong="error", allowed=allowed)  # shrinking is no error
    assert (made.dropped == 0).all() and made.num_shrunk == 1
    assert (plan(index, packer=InOrder(row_tokens=100)).dropped > 0).sum() == 1


def test_the_models_longest_sample_is_a_limit_too():
    class Short(TinyEncoder):
        max_tokens = 50

    index = make_index(60)
    made = plan_stage(index, Stage(name="s"), Caps(), InOrder(row_tokens=500), Short(), 0, np.ones(60, dtype=bool))
    assert made.tokens[made.dropped == 0].max() <= 50 and (made.dropped > 0).any()


def test_rows_of_like_cost_share_a_step():
    index = make_index(3000)
    arguments = (index, Stage(name="s", rows_per_step=8), Caps(), InOrder(row_tokens=400), TinyEncoder(), 0)
    ordered = plan_stage(*arguments, np.ones(3000, dtype=bool))
    random = plan_stage(*arguments, np.ones(3000, dtype=bool), ordered=False)
    assert utilisation(ordered, 8) > utilisation(random, 8) + 0.02
    assert sorted(ordered.members.tolist()) == sorted(random.members.tolist())
    assert utilisation(ordered, 1) == pytest.approx(1.0)


def test_utilisation_counts_idle_ranks():
    made = plan(make_index(40), rows_per_step=1)
    assert utilisation(made, 4) == pytest.approx(0.25)


def test_a_plan_comes_back_as_it_was_saved(tmp_path):
    made = plan(make_index(60), caps=(3, None))
    made.save(tmp_path / "plan.npz")
    again = StagePlan.load(tmp_path / "plan.npz")
    same(made, again)
    assert again.describe() == made.describe() and again.padded is False


class Overfull(InOrder):
    def group(self, costs, budget):
        return Packs.from_lists([list(range(len(costs)))])


class Twice(InOrder):
    def group(self, costs, budget):
        return Packs.from_lists([[0], [0]])


class Forgetful(InOrder):
    def group(self, costs, budget):
        return Packs.from_lists([[0]])


@pytest.mark.parametrize(("packer", "message"), [(Overfull, "beyond its budget"), (Twice, "into 2 rows")])
def test_a_packer_that_breaks_its_promise_is_refused(packer, message):
    with pytest.raises(InfimedError, match=message):
        plan(make_index(60), packer=packer(row_tokens=200))


def test_what_a_packer_leaves_out_is_counted():
    made = plan(make_index(60), packer=Forgetful(row_tokens=2000))
    assert made.describe()["dropped"] == {"not_packed": len(made.rows) - 1}


def test_phases_with_a_gap_are_refused():
    class Gap(Caps):
        def plan(self, num_samples):
            return [Phase(0, 3, None), Phase(4, num_samples, None)]

    with pytest.raises(InfimedError, match=r"Gap\.plan .* gave phases"):
        plan_stage(make_index(30), Stage(name="s"), Gap(), InOrder(), TinyEncoder(), 0, np.ones(30, dtype=bool))


@pytest.mark.parametrize("wanted", [1, 7, 16, 50, 10_000])
def test_a_step_holds_as_many_samples_as_asked_for_as_near_as_rows_come(wanted):
    index = make_index(600)
    made = plan(index, samples_per_step=wanted, packer=BestFit(row_tokens=400))
    of_steps = np.diff(made.offsets[made.steps])
    rows, samples = len(made.packs), int(made.offsets[-1])
    assert of_steps.sum() == samples and (np.diff(made.steps) >= 1).all()  # no step without a row
    assert len(of_steps) == min(rows, max(1, round(samples / wanted)))
    longest = int(np.diff(made.offsets).max())
    if longest < wanted < samples:
        assert abs(of_steps - wanted).max() <= 2 * longest


def test_a_stage_in_steps_of_samples_has_so_many_steps_and_a_step_has_one_size():
    made = plan(make_index(200), num_steps=12, samples_per_step=10)
    assert len(made.steps) - 1 == 12 and abs(np.diff(made.offsets[made.steps]).mean() - 10) < 1
    with pytest.raises(ValueError, match="rows_per_step and samples_per_step are two sizes of one step"):
        Stage(name="s", rows_per_step=2, samples_per_step=8)
    assert "samples_per_step" not in Stage(name="s").model_dump()  # what an earlier version planned stands
    told = mixing_warnings(Stage(name="s", samples_per_step=4), {})
    assert len(told) == 1 and "samples_per_step gives it others" in told[0]
