"""Rows: exact joins, invariants that refuse, the same in any process, a bad sample told and not replaced."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from infimed_core import IGNORED_LABEL, InfimedError, MediaLoader, Packer, Packs, Phase, ResolutionScheduler, Stage
from infimed_core.plan.index import build_index
from infimed_core.plan.planning import plan_stage
from infimed_core.plan.rows import PlannedBatches, assemble
from infimed_core.store.dataset import Dataset, write_samples

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)
from planning_fakes import Pictures, TinyEncoder, calls, sample, samples  # noqa: E402

LOADER = MediaLoader({"image": Pictures()})


class Rising(ResolutionScheduler):
    def plan(self, num_samples):
        return [Phase(0, num_samples // 2, 4), Phase(num_samples // 2, num_samples, None)]


class Threes(Packer):
    row_tokens: int = 100_000

    def group(self, costs, budget):
        return Packs.from_lists([range(i, min(i + 3, len(costs))) for i in range(0, len(costs), 3)])


class PaddedThrees(Threes):
    padded = True


def batches(tmp_path, rows, packer=None, rows_per_step=4):
    path = tmp_path / "samples.jsonl"
    write_samples(path, rows)
    dataset = Dataset(path)
    index = build_index(dataset, TinyEncoder(), LOADER)
    stage = Stage(name="s", rows_per_step=rows_per_step)
    plan = plan_stage(index, stage, Rising(), packer or Threes(), TinyEncoder(), 0, np.ones(len(rows), dtype=bool))
    return PlannedBatches(dataset, plan, TinyEncoder(), LOADER)


def encode(row, cap=None):
    images = [LOADER.load(item) for item in row.media]
    return TinyEncoder().encode(row, images, cap)


def digest(rows):
    found = hashlib.sha256()
    for row in rows:
        found.update(repr((row.sample_ids, row.visual_tokens, row.num_supervised)).encode())
        for name in ("input_ids", "labels", "positions", "token_types", "cu_seqlens"):
            found.update(getattr(row, name).tobytes())
        for name in sorted(row.vision):
            found.update(row.vision[name].tobytes())
    return found.hexdigest()


def test_nothing_is_decoded_until_a_row_is_asked_for(tmp_path):
    calls.update(load=0)
    made = batches(tmp_path, samples(40))
    assert calls["load"] == 0
    made.row(0, 0)
    assert calls["load"] > 0


def test_every_sample_comes_once_as_long_as_planned_at_its_phases_cap(tmp_path):
    rows = samples(60)
    made = batches(tmp_path, rows)
    plan, seen = made.plan, []
    pack = 0
    for step in range(made.num_steps):
        made_rows = made.rows(step)
        assert len(made_rows) == made.num_rows(step)
        for row in made_rows:
            draws = plan.packs[pack]
            assert np.diff(row.cu_seqlens).tolist() == plan.tokens[draws].tolist()
            assert row.num_supervised == plan.supervised[draws].sum()
            assert len(row.vision.get("pixel_values", ())) == plan.patches[draws].sum()
            assert len(row.visual_tokens) == plan.images[draws].sum()
            seen += row.sample_ids
            pack += 1
    assert sorted(seen) == sorted(row.id for row in rows)


def test_a_packed_row_is_its_samples_end_to_end():
    parts = [encode(row) for row in (sample("t"), sample("i", images=["40x40", "20x70"]), sample("u", "x", "y"))]
    row = assemble(parts)
    for number, part in enumerate(parts):
        span = slice(row.cu_seqlens[number], row.cu_seqlens[number + 1])
        for name in ("input_ids", "labels", "token_types"):
            assert getattr(row, name)[span].tolist() == getattr(part, name).tolist()
        assert row.positions[:, span].tolist() == part.positions.tolist()
        assert row.labels[span][-1] == IGNORED_LABEL
    assert row.visual_tokens == parts[1].visual_tokens
    assert np.array_equal(row.vision["pixel_values"], parts[1].vision["pixel_values"])
    assert row.num_padding == 0 and row.cu_seqlens.dtype == np.int32


def test_a_padded_row_has_equal_segments_and_padding_after_everything_real(tmp_path):
    parts = [encode(row) for row in (sample("t"), sample("i", images=["40x40"]), sample("u", "x", "y"))]
    row = assemble(parts, padded=True)
    longest = max(len(part) for part in parts)
    assert np.diff(row.cu_seqlens).tolist() == [longest] * 3
    for number, part in enumerate(parts):
        start = number * longest
        assert row.input_ids[start : start + len(part)].tolist() == part.input_ids.tolist()
        after = slice(start + len(part), start + longest)
        assert (row.labels[after] == IGNORED_LABEL).all() and (row.token_types[after] == 0).all()
        assert (row.input_ids[after] != 1).all()  # the placeholder's id
        assert row.positions[0, start : start + longest].tolist() == list(range(longest))
    assert row.num_padding == 3 * longest - sum(len(part) for part in parts)
    assert row.num_supervised == assemble(parts).num_supervised


def test_the_padding_planned_is_the_padding_made(tmp_path):
    made = batches(tmp_path, samples(31), PaddedThrees())
    rows = [row for step in range(made.num_steps) for row in made.rows(step)]
    assert [row.num_padding for row in rows] == made.plan.padding.tolist()
    assert all(row.padded for row in rows) and sum(made.plan.padding) > 0


def broken(part, **changes):
    return replace(part, **{name: change(getattr(part, name).copy()) for name, change in changes.items()})


def put(place, value):
    def change(array):
        array[place] = value
        return array

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": put(-1, 5)}, "across the sample's border"),
        ({"labels": put(1, 1)}, "placeholder carries loss"),
        ({"labels": put(-3, 99)}, "not the token that follows"),
        ({"token_types": put(0, 0)}, "placeholders stand for"),
        ({"labels": lambda array: array[:-1]}, "differ in length"),
    ],
)
def test_a_sample_that_breaks_an_invariant_is_refused_by_name(change, message):
    good, bad = encode(sample("good")), encode(sample("bad", images=["40x40"]))
    with pytest.raises(InfimedError, match=f"'bad'.*{message}"):
        assemble([good, broken(bad, **change)])


def test_a_sample_that_cannot_be_decoded_is_told_and_not_replaced(tmp_path):
    rows = [sample("a"), sample("torn", images=["40x40!"]), sample("c")]
    made = batches(tmp_path, rows, rows_per_step=9)
    found = [row for step in range(made.num_steps) for row in made.rows(step)]
    assert sorted(name for row in found for name in row.sample_ids) == ["a", "c"]
    (fault,) = [fault for row in found for fault in row.dropped]
    assert (fault.sample_id, fault.code) == ("torn", "truncated") and "samples.jsonl:2" in fault.where


def test_a_row_whose_samples_all_failed_keeps_its_place(tmp_path):
    made = batches(tmp_path, [sample("torn", images=["40x40!"])])
    row = made.row(0, 0)
    assert len(row) == 0 and row.cu_seqlens.tolist() == [0] and row.num_supervised == 0 and len(row.dropped) == 1


def test_a_sample_longer_than_planned_is_an_error_that_names_it(tmp_path):
    made = batches(tmp_path, [sample("changed")])
    write_samples(tmp_path / "samples.jsonl", [sample("changed", answer="longer than before")])
    with pytest.raises(InfimedError, match=r"'changed' has 21 tokens.*planned were 5"):
        PlannedBatches(Dataset(tmp_path / "samples.jsonl"), made.plan, TinyEncoder(), LOADER).row(0, 0)


def test_a_step_or_row_that_is_not_there_is_an_index_error(tmp_path):
    made = batches(tmp_path, samples(10))
    for step, index in ((made.num_steps, 0), (-1, 0), (0, made.num_rows(0)), (0, -1)):
        with pytest.raises(IndexError):
            made.row(step, index)


def test_any_step_is_the_same_in_another_process_and_in_any_order(tmp_path):
    made = batches(tmp_path, samples(60))
    wanted = [digest(made.rows(step)) for step in range(made.num_steps)]
    assert [digest(made.rows(step)) for step in reversed(range(made.num_steps))] == wanted[::-1]
    copy = PlannedBatches(made._dataset, made.plan, TinyEncoder(), LOADER)
    (tmp_path / "batches.pickle").write_bytes(pickle.dumps(copy))
    script = (
        f"import sys, pickle; sys.path.insert(0, {HERE!r}); from test_rows import digest\n"
        f"b = pickle.load(open({str(tmp_path / 'batches.pickle')!r}, 'rb'))\n"
        "print(*[digest(b.rows(step)) for step in range(2, b.num_steps)])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.split() == wanted[2:]
