"""Operations counted by arithmetic are those that torch counts, for every way in which a tower takes images."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from resolution import Counter
from small_checkpoints import write_small_checkpoint
from throughput import own_loss

from infimed_core import Media, Sample, Turn
from infimed_core.plan.rows import assemble
from infimed_plugins.sft.flop_counter import FlopCounter
from infimed_plugins.vlm.checkpoint import Transformers


@pytest.mark.parametrize("model_type", ["qwen3_vl", "llava", "internvl", "glm4v", "mistral3", "qwen3"])
def test_operations_by_arithmetic_are_within_two_percent_of_torchs_count(tmp_path, model_type):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    write_small_checkpoint(model_type, tmp_path, ["Which plane? axial"] * 5)
    model = Transformers(checkpoint=str(tmp_path), device="cpu").load(None)
    if model_type == "llava":
        model.module.config.vision_feature_layer = -1  # else the last layer's weights are counted and never used
    model.module.train()
    pictured = model_type != "qwen3"
    content = (0, "Which plane?") if pictured else ("Which plane?",)
    turns = (Turn(role="user", content=content), Turn(role="assistant", content=("axial coronal",)))
    sample = Sample(id="s", turns=turns, media=(Media(uri="/s"),) if pictured else ())
    images = [np.zeros((120, 90, 3), np.uint8)] if pictured else []
    # Pixtral's tower cuts pictures filled up to the largest: the little that this costs is not counted.
    caps = (9, 9, 9) if model_type == "mistral3" else (None, 9, 4)
    row = assemble([model.encoder.encode(sample, images, cap) for cap in caps])
    named = dict(model.module.named_parameters())
    groups = {group: {name: named[name] for name in names} for group, names in model.parameter_groups().items()}
    expected = FlopCounter(model, groups, set(groups)).of(row, row.num_supervised)
    with Counter() as counter:
        own_loss(model, row, np.diff(row.cu_seqlens), "cpu").backward()
    torch.set_num_threads(threads)
    assert expected == pytest.approx(counter.total(), rel=0.02)
