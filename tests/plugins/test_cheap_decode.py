"""Under a low cap a JPEG is decoded small, and is still exactly as long as planned from its header."""

from __future__ import annotations

import numpy as np
from PIL import Image as Pillow

from infimed_core import Media, MediaLoader, Sample, Stage, Turn
from infimed_core.plan.index import build_index
from infimed_core.plan.planning import plan_stage
from infimed_core.plan.rows import PlannedBatches
from infimed_core.store.dataset import Dataset, write_samples
from infimed_plugins.image.modality import Image
from infimed_plugins.packing.fitting import BestFit
from infimed_plugins.resolution.schedulers import Fixed, Native
from infimed_plugins.vlm.tiny import TinyQwen3VL


class Watched(MediaLoader):
    def __init__(self, modalities):
        super().__init__(modalities)
        self.loaded = {}

    def load(self, media, at_most=None):
        image = super().load(media, at_most)
        self.loaded[media.uri] = image.shape[:2]
        return image


def test_lengths_hold_for_jpegs_of_odd_sizes_decoded_small(tmp_path):
    model = TinyQwen3VL(layers=1, vision_layers=1)
    encoder = model.encoder(model.prepare(tmp_path / "model", lambda: ["Which plane? axial coronal yes no"] * 5, 0))
    random, samples, sizes = np.random.default_rng(0), [], {}
    for number in range(40):
        height, width = (int(side) for side in random.integers(1, 700, 2))
        path = tmp_path / f"{number}.jpg"
        exif = Pillow.Exif()
        exif[0x0112] = int(random.integers(1, 9))  # orientation: some are turned
        picture = Pillow.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        picture.save(path, exif=exif)
        sizes[str(path)] = height * width
        turns = (Turn(role="user", content=(0, "Which plane?")), Turn(role="assistant", content=("axial",)))
        samples.append(Sample(id=f"s{number}", turns=turns, media=(Media(uri=str(path)),)))
    write_samples(tmp_path / "samples.jsonl", samples)
    dataset, loader = Dataset(tmp_path / "samples.jsonl"), Watched({"image": Image()})
    index = build_index(dataset, encoder, loader)
    assert not loader.loaded  # the index opens headers alone
    for scheduler in (Fixed(max_visual_tokens=4), Fixed(max_visual_tokens=36), Native()):
        packer, allowed = BestFit(row_tokens=2048), np.ones(len(dataset), dtype=bool)
        plan = plan_stage(index, Stage(name="s"), scheduler, packer, encoder, 0, allowed)
        batches = PlannedBatches(dataset, plan, encoder, loader)
        loader.loaded.clear()
        rows = [row for step in range(batches.num_steps) for row in batches.rows(step)]
        made = {
            identity: int(length)
            for row in rows
            for identity, length in zip(row.sample_ids, np.diff(row.cu_seqlens), strict=True)
        }
        planned = {f"s{row}": int(tokens) for row, tokens in zip(plan.rows, plan.tokens, strict=True)}
        assert made == planned
        assert all(not row.dropped for row in rows)
        smaller = sum(height * width < sizes[uri] for uri, (height, width) in loader.loaded.items())
        assert smaller >= {4: 20, 36: 3}.get(getattr(scheduler, "max_visual_tokens", None), 0)
