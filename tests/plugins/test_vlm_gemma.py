"""Gemma3's images: tokens, types and pixels of its own processor, by arithmetic; and its settings where they stand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_checkpoints import write_small_checkpoint

from infimed_core import IGNORED_LABEL, DataError, Media, Sample, Turn
from infimed_plugins.vlm.encoding import ChatEncoder
from infimed_plugins.vlm.siglip import SiglipPixels

TEXTS = ["Which imaging plane is shown in this picture?", "axial coronal sagittal yes no"] * 5
MEDIA = (Media(uri="/a"), Media(uri="/b"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_small_checkpoint("gemma3", tmp_path_factory.mktemp("gemma3"), TEXTS, weights=False)


@pytest.fixture(scope="module")
def encoder(checkpoint) -> ChatEncoder:
    return ChatEncoder(checkpoint)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def config_of(side: int, patch: int, tokens: int) -> dict:
    vision = {"image_size": side, "patch_size": patch}
    return {"model_type": "gemma3", "mm_tokens_per_image": tokens, "vision_config": vision}


def conversations() -> list[Sample]:
    said = [
        [("user", (0, "Which plane?")), ("assistant", ("axial",))],
        [("system", ("Be brief.\n",)), ("user", ("Look:\n", 0, 1, "\n\nSame?")), ("assistant", ("no",))],
        [
            ("user", ("hello",)),
            ("assistant", ("yes",)),
            ("user", ("And\n\n\n", 0)),
            ("assistant", (" é\n", 1, "axial")),
        ],
    ]
    turns = [tuple(Turn(role=role, content=content) for role, content in conversation) for conversation in said]
    return [Sample(id=str(number), turns=own, media=MEDIA) for number, own in enumerate(turns)]


def gemma_processor(encoder: ChatEncoder):
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
    from transformers.models.gemma3.processing_gemma3 import Gemma3Processor

    side = encoder.pixels.side
    pictures = Gemma3ImageProcessorPil(size={"height": side, "width": side}, do_pan_and_scan=False)
    return Gemma3Processor(pictures, encoder.tokenizer, image_seq_length=encoder.config["mm_tokens_per_image"])


@pytest.mark.parametrize("number", range(3))
def test_tokens_types_and_pixels_are_those_of_gemmas_own_processor(encoder, number):
    sample = conversations()[number]
    used = [index for turn in sample.turns for index in turn.media_indices]
    images = [picture(40 + 30 * index, 50, index) for index in used]
    encoded = encoder.encode(sample, images, None)
    whole, _ = encoder.chat.render(sample.turns)
    options = {"input_data_format": "channels_last", "return_tensors": "np", "add_special_tokens": False}
    real = gemma_processor(encoder)(text=[whole], images=[images], **options)
    assert encoded.input_ids.tolist() == real["input_ids"][0].tolist()
    assert encoded.token_types.tolist() == real["token_type_ids"][0].tolist()
    np.testing.assert_array_equal(encoded.vision["pixel_values"], real["pixel_values"])
    assert encoded.input_ids.tolist().count(encoder.tokenizer.bos_token_id) == 1
    if number:
        return
    newlines = encoder.tokenizer.convert_tokens_to_ids(["\n\n\n", "\n\n\n\n"])
    assert set(newlines) & set(encoded.input_ids.tolist())  # texts and markers meet in one token


def test_what_stands_around_an_image_in_an_answer_is_not_supervised(encoder):
    sample = conversations()[2]
    encoded = encoder.encode(sample, [picture(9, 9), picture(8, 8)], None)
    supervised = encoded.labels[encoded.labels != IGNORED_LABEL]
    assert encoder.tokenizer.decode(supervised) == "yes<end_of_turn>éaxial<end_of_turn>"


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.sampled_from([(28, 14), (56, 14), (64, 16)]))
def test_gemmas_pixels_equal_its_image_processor_bit_for_bit(height, width, size):
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    side, patch = size
    pixels = SiglipPixels.from_settings({}, config_of(side, patch, 4))
    arrays, grids = pixels.arrays([picture(height, width)], None)
    real = Gemma3ImageProcessorPil(size={"height": side, "width": side})(
        [picture(height, width)], input_data_format="channels_last", return_tensors="np"
    )
    np.testing.assert_array_equal(arrays["pixel_values"], real["pixel_values"])
    assert grids.tolist() == [[2, 2]]


def test_a_real_gemma_has_256_tokens_an_image_and_less_under_a_cap():
    pixels = SiglipPixels.from_settings({}, config_of(896, 14, 256))
    for cap, tokens in {None: 256, 300: 256, 256: 256, 255: 225, 100: 100, 1: 1}.items():
        found = pixels.sizes(np.array([700]), np.array([30]), cap)
        assert [int(values[0]) for values in found] == [tokens, 64 * 64]


def test_the_image_processor_may_stand_in_the_processors_file_and_pan_and_scan_is_refused(checkpoint, tmp_path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / name).write_bytes((checkpoint / name).read_bytes())
    with pytest.raises(DataError, match=r"preprocessor_config.json: missing; copy it"):
        _ = ChatEncoder(tmp_path).pixels
    gemma_processor(ChatEncoder(checkpoint)).save_pretrained(tmp_path)
    assert not (tmp_path / "preprocessor_config.json").exists()
    assert ChatEncoder(tmp_path).pixels == ChatEncoder(checkpoint).pixels
    whole = json.loads((tmp_path / "processor_config.json").read_text())
    whole["image_processor"]["do_pan_and_scan"] = True
    (tmp_path / "processor_config.json").write_text(json.dumps(whole))
    with pytest.raises(DataError, match=r"processor_config.json: do_pan_and_scan is not supported; set it to false"):
        _ = ChatEncoder(tmp_path).pixels


def test_a_chat_template_in_the_processors_own_file_is_used(checkpoint, encoder, tmp_path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((checkpoint / name).read_bytes())
    template = (checkpoint / "chat_template.jinja").read_text()
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    turns = conversations()[1].turns
    assert ChatEncoder(tmp_path).chat.render(turns) == encoder.chat.render(turns)
