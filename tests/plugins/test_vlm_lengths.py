"""Predicted length is real length for every family that takes images, every format, any cap; no planning decodes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from lengths import FORMATS, MODALITIES, Counted, made_samples, mispredicted, real_tokens
from small_checkpoints import write_small_checkpoint

from infimed_core import Stage
from infimed_core.plan.index import build_index
from infimed_core.plan.planning import plan_stage
from infimed_core.plan.rows import PlannedBatches
from infimed_core.store.dataset import Dataset, write_samples
from infimed_plugins.packing.fitting import BestFit
from infimed_plugins.resolution.schedulers import LowToHigh
from infimed_plugins.vlm.encoding import ChatEncoder
from infimed_plugins.vlm.families import FAMILIES

pytestmark = pytest.mark.newest

PICTURED = [name for name, family in FAMILIES.items() if family.takes_images and not name.endswith("_moe")]
CAPS = [None, 1, 2, 5, 9, 36, 100]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    path = tmp_path_factory.mktemp("images") / "samples.jsonl"
    samples, formats = made_samples(70, seed=3)
    assert set(formats) == set(FORMATS)
    write_samples(path, samples)
    return Dataset(path)


@pytest.mark.parametrize("model_type", PICTURED)
def test_lengths_are_as_planned_and_tokens_as_the_real_processor_makes_them(tmp_path, dataset, model_type):
    encoder = ChatEncoder(write_small_checkpoint(model_type, tmp_path, ["Which plane? axial"] * 5, weights=False))
    caps = [CAPS[number % len(CAPS)] for number in range(len(dataset))]
    check = lambda image, cap: real_tokens(model_type, encoder, image, cap)  # noqa: E731
    assert mispredicted(encoder, dataset, Counted(MODALITIES), caps, check) == (0, 0)


@pytest.mark.parametrize("model_type", ["llava", "internvl", "gemma3"])
def test_pooling_keeps_every_cap_and_a_rising_schedule_is_planned_anew_without_decoding(tmp_path, dataset, model_type):
    encoder = ChatEncoder(write_small_checkpoint(model_type, tmp_path, ["Which plane? axial"] * 5, weights=False))
    media = Counted(MODALITIES)
    index = build_index(dataset, encoder, media)
    phases = [{"share": 0.5, "max_visual_tokens": 2}, {"share": 0.5, "max_visual_tokens": None}]
    allowed = np.ones(len(dataset), dtype=bool)
    packer = BestFit(row_tokens=256)
    plan = plan_stage(index, Stage(name="s"), LowToHigh(phases=phases), packer, encoder, 0, allowed)
    assert media.decoded == 0
    batches = PlannedBatches(dataset, plan, encoder, media)
    rows = [row for step in range(batches.num_steps) for row in batches.rows(step)]
    first = max(
        count for row, phase in zip(rows, plan.pack_phases, strict=True) if not phase for count in row.visual_tokens
    )
    last = max(count for row, phase in zip(rows, plan.pack_phases, strict=True) if phase for count in row.visual_tokens)
    assert first <= 2 < last and sum(len(row.sample_ids) for row in rows) == len(dataset)
