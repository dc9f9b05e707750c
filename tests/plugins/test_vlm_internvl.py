"""InternVL: tiles, markers and lengths as its own processor makes them; training, answers and reload."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_checkpoints import write_small_checkpoint

from infimed_core import IGNORED_LABEL, Generation, Media, MediaLoader, Request, Sample, Turn
from infimed_core.plan.rows import assemble
from infimed_core.testing import make_image
from infimed_plugins.image.modality import Image
from infimed_plugins.vlm.checkpoint import Transformers
from infimed_plugins.vlm.encoding import ChatEncoder
from infimed_plugins.vlm.internvl import InternPixels

TEXTS = ["Which imaging plane is shown in this picture?", "axial coronal sagittal"] * 5


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_small_checkpoint("internvl", tmp_path_factory.mktemp("internvl"), TEXTS)


@pytest.fixture(scope="module")
def encoder(checkpoint) -> ChatEncoder:
    return ChatEncoder(checkpoint)


def sample_of(shapes: list[tuple[int, int]]) -> Sample:
    asked = tuple(part for number in range(len(shapes)) for part in (number, " Which plane?"))
    media = tuple(Media(uri=f"/{number}") for number in range(len(shapes)))
    turns = (Turn(role="user", content=asked or ("Hello",)), Turn(role="assistant", content=("axial",)))
    return Sample(id="s", turns=turns, media=media)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from([1, 2, 4, 6, 12]), st.integers(1, 4))
def test_tiles_equal_those_of_the_real_processor(height, width, most, fewest):
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    fewest = min(fewest, most)
    options = {"size": {"height": 28, "width": 28}, "min_patches": fewest, "max_patches": most}
    config = {"vision_config": {"image_size": [28, 28], "patch_size": [7, 7]}, "downsample_ratio": 0.5}
    pixels = InternPixels.from_settings(options, config)
    image = picture(height, width)
    arrays, grids = pixels.arrays([image], None)
    tokens, patches = pixels.sizes(np.array([height]), np.array([width]), None)
    real = GotOcr2ImageProcessorPil(**options, crop_to_patches=True)(
        [image], input_data_format="channels_last", return_tensors="np"
    )
    np.testing.assert_array_equal(real["pixel_values"], arrays["pixel_values"])
    assert tokens[0] == grids.prod() == 4 * real["num_patches"][0] and patches[0] == 16 * real["num_patches"][0]


def test_the_text_is_the_one_that_the_real_processor_writes(encoder):
    """Markers around every image, one placeholder for each visual token of its tiles."""
    shapes = [(60, 200), (40, 40)]
    encoded = encoder.encode(sample_of(shapes), [picture(*shape) for shape in shapes], None)
    counts = encoder.pixels.sizes(*np.array(shapes).T, None)[0].tolist()
    rendered, _ = encoder.chat.render(sample_of(shapes).turns)
    for count in counts:
        rendered = rendered.replace("<IMG_CONTEXT>", f"<img>{'@' * count}</img>", 1)
    rendered = rendered.replace("@", "<IMG_CONTEXT>")
    assert encoded.input_ids.tolist() == encoder.tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert encoded.visual_tokens == tuple(counts) and counts[0] > counts[1] == 4
    supervised = encoded.labels[encoded.labels != IGNORED_LABEL]
    assert encoder.tokenizer.decode(supervised) == "axial<|im_end|>"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), max_size=3), st.none() | st.integers(1, 60))
def test_no_image_is_over_its_cap_and_predicted_is_real(encoder, shapes, cap):
    sample = sample_of(shapes)
    encoded = encoder.encode(sample, [picture(*shape) for shape in shapes], cap)
    visual, patches = encoder.visual_sizes(*np.array(shapes, dtype=np.int64).reshape(-1, 2).T, cap)
    assert encoded.visual_tokens == tuple(visual) and all(count <= (cap or 13 * 4) for count in visual)
    assert len(encoded) == encoder.text_lengths([sample]).tokens[0] + visual.sum()
    assert patches.sum() == 16 * len(encoded.vision.get("pixel_values", ()))


def test_an_image_decoded_smaller_keeps_the_tiles_of_its_header(encoder):
    size = encoder.decode_size(2000, 500, None)
    planned, _ = encoder.visual_sizes(np.array([2000]), np.array([500]), None)
    encoded = encoder.encode(sample_of([(1, 1)]), [picture(*size)], None, [(2000, 500)])
    assert encoded.visual_tokens == tuple(planned)


def test_it_is_proven_apart_trains_answers_and_reloads(checkpoint, tmp_path):
    torch.set_num_threads(1)
    network = Transformers(checkpoint=str(checkpoint)).load(None)
    assert network.can_pack()[0], network.can_pack()[1]
    shapes = [[(60, 200), (40, 40)], [], [(90, 30)]]
    row = assemble(
        [network.encoder.encode(sample_of(own), [picture(*s) for s in own], cap)
         for own, cap in zip(shapes, [None, None, 2], strict=True)]
    )  # fmt: skip
    assert row.visual_tokens == (16, 4, 1)
    network.module.train()
    network.output_embedding()(network.hidden_states(row)).logsumexp(-1).sum().backward()
    assert all(parameter.grad is not None for parameter in network.module.parameters())
    assert {name for name, members in network.parameter_groups().items() if not members} == set()
    request = Request(
        sample_id="q", turns=(Turn(role="user", content=(0, "Which plane?")),),
        media=(Media(data=make_image(64, 200)),), generation=Generation(max_new_tokens=4),
    )  # fmt: skip
    media = MediaLoader({"image": Image()})
    (before,) = network.answer([request], media)
    assert before.error is None and before.num_prompt_tokens > 16
    network.save(tmp_path)
    (after,) = Transformers(checkpoint=str(tmp_path)).load(None).answer([request], media)
    assert after == before
