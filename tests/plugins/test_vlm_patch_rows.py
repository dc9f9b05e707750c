"""GLM, Mistral 3 and Gemma 4: tokens, pixels and what the tower gets are those of transformers' own processors."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_checkpoints import PIXTRAL_TOKENS, write_small_checkpoint

from infimed_core import IGNORED_LABEL, DataError, Generation, Media, MediaLoader, Request, Sample, Turn, assemble
from infimed_core.testing import make_image
from infimed_plugins.image.modality import Image
from infimed_plugins.vlm.checkpoint import Transformers
from infimed_plugins.vlm.encoding import ChatEncoder
from infimed_plugins.vlm.glm import Glm5Pixels, GlmPixels
from infimed_plugins.vlm.isolation import measure
from infimed_plugins.vlm.patch_rows import Gemma4Pixels, PixtralPixels, tower_inputs

pytestmark = pytest.mark.newest

TEXTS = ["Which imaging plane is shown in this picture?", "axial coronal sagittal"] * 5
OPTIONS = {"input_data_format": "channels_last", "return_tensors": "pt"}
FAMILIES = ["glm4v", "glm5_next", "mistral3", "gemma4"]
SHAPES = st.lists(st.tuples(st.integers(1, 110), st.integers(1, 110)), min_size=1, max_size=3)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def sample_of(shapes: list[tuple[int, int]]) -> Sample:
    asked = tuple(part for number in range(len(shapes)) for part in (number, " Which plane?"))
    media = tuple(Media(uri=f"/{number}") for number in range(len(shapes)))
    turns = (Turn(role="user", content=asked or ("Hello",)), Turn(role="assistant", content=("axial",)))
    return Sample(id="s", turns=turns, media=media)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    return {name: write_small_checkpoint(name, tmp_path_factory.mktemp(name), TEXTS) for name in FAMILIES}


@pytest.fixture(scope="module")
def encoders(checkpoints) -> dict[str, ChatEncoder]:
    return {name: ChatEncoder(path) for name, path in checkpoints.items()}


@settings(max_examples=15, deadline=None)
@given(SHAPES, st.sampled_from([(112 * 112, 28 * 28 * 15000), (28 * 28 * 2, 28 * 28 * 40)]))
def test_glms_patches_equal_its_image_processor_bit_for_bit(shapes, limits):
    from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil

    size = {"shortest_edge": limits[0], "longest_edge": limits[1]}
    images = [picture(*shape) for shape in shapes]
    arrays, grids = GlmPixels.from_settings({"size": size}).arrays(images, None)
    real = Glm4vImageProcessorPil(size=size)(images, **OPTIONS)
    np.testing.assert_array_equal(arrays["pixel_values"], real["pixel_values"])
    np.testing.assert_array_equal(arrays["image_grid_thw"], real["image_grid_thw"])
    assert (grids * 2 == real["image_grid_thw"][:, 1:].numpy()).all()


@settings(max_examples=40, deadline=None)
@given(
    SHAPES,
    st.sampled_from([(16, 8000), (1, 6), (4, 4), (16, 16), (1, 1)]),
    st.sampled_from([(14, 2), (16, 2), (14, 1)]),
)
def test_glm5s_patches_equal_its_image_processor_bit_for_bit(shapes, limits, sides):
    from transformers.models.glm5_next.image_processing_pil_glm5_next import Glm5NextImageProcessorPil

    options = {"min_image_tokens": limits[0], "max_image_tokens": limits[1]}
    options |= {"patch_size": sides[0], "merge_size": sides[1]}
    images = [picture(*shape) for shape in shapes]
    pixels = Glm5Pixels.from_settings({**options, "size": {"longest_edge": 1}})
    arrays, grids = pixels.arrays(images, None)
    real = Glm5NextImageProcessorPil(**options)(images, **OPTIONS)
    np.testing.assert_array_equal(arrays["pixel_values"], real["pixel_values"])
    np.testing.assert_array_equal(arrays["image_grid_thw"], real["image_grid_thw"])
    assert (grids * sides[1] == real["image_grid_thw"][:, 1:].numpy()).all()
    capped = Glm5Pixels.from_settings(options).arrays(images, 3)  # a cap is its own limit, set lower
    lower = {**options, "max_image_tokens": min(3, limits[1]), "min_image_tokens": min(3, *limits)}
    np.testing.assert_array_equal(
        capped[0]["pixel_values"], Glm5NextImageProcessorPil(**lower)(images, **OPTIONS)["pixel_values"]
    )


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 20000), st.integers(1, 20000), st.sampled_from([(16, 8000), (1, 1), (4, 60), (300, 300)]))
def test_glm5s_grid_is_the_one_its_processor_computes_for_any_size(height, width, limits):
    from transformers.models.glm5_next.image_processing_pil_glm5_next import smart_resize

    pixels = Glm5Pixels.from_settings({"min_image_tokens": limits[0], "max_image_tokens": limits[1]})
    real = smart_resize(2, height, width, factor=28, min_pixels=limits[0], max_pixels=limits[1])
    assert pixels.target(height, width, None) == real


@settings(max_examples=15, deadline=None)
@given(SHAPES, st.sampled_from([1540, 150, 60]), st.sampled_from([1, 2]))
def test_what_pixtrals_tower_gets_equals_its_image_processor_bit_for_bit(shapes, longest, merge):
    from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

    config = {"vision_config": {"patch_size": 14}, "spatial_merge_size": merge}
    pixels = PixtralPixels.from_settings({"size": {"longest_edge": longest}}, config)
    images = [picture(*shape, seed) for seed, shape in enumerate(shapes)]
    arrays, grids = pixels.arrays(images, None)
    values, grid = (torch.from_numpy(arrays[name]) for name in ("pixel_values", "image_grid_thw"))
    mine = tower_inputs("pixtral", values, grid, 14)
    tile = {"height": 14 * merge, "width": 14 * merge}
    try:
        real = PixtralImageProcessorPil(size={"longest_edge": longest}, patch_size=tile)(images, **OPTIONS)
    except ValueError:
        assert any(min(shape) * longest < max(shape) for shape in shapes)  # a strip that it shrinks to nothing
        return
    assert mine["pixel_values"].equal(real["pixel_values"])
    assert mine["image_sizes"].tolist() == real["image_sizes"].tolist()
    assert (grids == real["image_sizes"].numpy() // (14 * merge) + (0, 1)).all()


def test_where_gemma4_has_no_tower_a_token_is_the_patches_that_its_processor_merges():
    """Its image processor needs torchvision; the function that merges does not."""
    import ast
    import importlib.util
    import math
    from pathlib import Path

    spec = importlib.util.find_spec("transformers.models.gemma4_unified.image_processing_gemma4_unified")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    (function,) = (node for node in tree.body if getattr(node, "name", "") == "patches_merge")
    scope = {"torch": torch, "math": math}
    # A function of the installed package, which importing its module would run too; nothing from outside.
    exec(compile(ast.Module([function], []), spec.origin, "exec"), scope)

    config = {"model_type": "gemma4_unified", "vision_config": {"patch_size": 16, "pooling_kernel_size": 3}}
    merged = Gemma4Pixels.from_settings({}, config)
    single = Gemma4Pixels.from_settings({}, {**config, "model_type": "gemma4"})
    image = np.random.default_rng(0).integers(0, 256, (150, 260, 3), dtype=np.uint8)
    (mine, tokens), (patches, same) = (pixels.arrays([image], None) for pixels in (merged, single))
    assert (tokens == same).all() and len(mine["pixel_values"]) == tokens.prod()
    theirs = tower_inputs("gemma4", *(torch.from_numpy(patches[n]) for n in ("pixel_values", "image_grid_thw")), 16)
    values, positions = scope["patches_merge"](
        theirs["pixel_values"], theirs["image_position_ids"], int(tokens.prod())
    )  # fmt: skip
    ours = tower_inputs("gemma4", *(torch.from_numpy(mine[n]) for n in ("pixel_values", "image_grid_thw")), 48)
    assert torch.equal(ours["pixel_values"], values) and torch.equal(ours["image_position_ids"], positions)


@settings(max_examples=15, deadline=None)
@given(SHAPES, st.sampled_from([70, 140]))
def test_what_gemma4s_tower_gets_equals_its_image_processor_up_to_what_is_filled_up(shapes, most):
    from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

    pixels = Gemma4Pixels.from_settings({"max_soft_tokens": most}, {"vision_config": {}})
    images = [picture(*shape, seed) for seed, shape in enumerate(shapes)]
    arrays, grids = pixels.arrays(images, None)
    values, grid = (torch.from_numpy(arrays[name]) for name in ("pixel_values", "image_grid_thw"))
    mine = tower_inputs("gemma4", values, grid, 16)
    real = Gemma4ImageProcessorPil(max_soft_tokens=most)(images, **OPTIONS)
    longest = mine["pixel_values"].shape[1]
    assert mine["pixel_values"].equal(real["pixel_values"][:, :longest].float())
    assert mine["image_position_ids"].equal(real["image_position_ids"][:, :longest])
    assert (real["image_position_ids"][:, longest:] == -1).all()
    assert grids.prod(axis=1).tolist() == [int(count) for count in real["num_soft_tokens_per_image"]]


def test_the_text_is_the_one_that_the_real_processors_write(encoders):
    """A line of placeholders ends with a mark and an image with another; no placeholder and no mark carries loss."""
    shapes = [(60, 200), (40, 40)]
    for name, encoder in encoders.items():
        encoded = encoder.encode(sample_of(shapes), [picture(*shape) for shape in shapes], None)
        rendered, _ = encoder.chat.render(sample_of(shapes).turns)
        word = encoder.tokenizer.convert_ids_to_tokens(encoder.image_token)
        for down, across in zip(*encoder.pixels.grids(*np.array(shapes).T, None), strict=True):
            written = "@" * int(down * across)
            if name == "mistral3":
                lines = PIXTRAL_TOKENS["image_break_token"].join(["@" * across] * int(down))
                written = lines + PIXTRAL_TOKENS["image_end_token"]
            elif name == "gemma4":
                written = f"<|image>{written}<image|>"
            rendered = rendered.replace(word, written, 1)
        rendered = rendered.replace("@", word)
        assert encoded.input_ids.tolist() == encoder.tokenizer(rendered, add_special_tokens=False)["input_ids"], name
        supervised = encoded.labels[encoded.labels != IGNORED_LABEL]
        assert encoder.tokenizer.decode(supervised).startswith("axial<")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(FAMILIES),
    st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), max_size=40),
    st.none() | st.integers(1, 60),
)
def test_no_image_is_over_its_cap(encoders, name, shapes, cap):
    sizes = np.array(shapes, dtype=np.int64).reshape(-1, 2).T
    counts, patches = encoders[name].visual_sizes(*sizes, cap)
    assert (counts >= 1).all() and (patches >= 1).all()
    if cap is not None:
        assert (counts <= max(cap, 2 if name == "mistral3" else 1)).all()


def test_an_image_decoded_smaller_keeps_the_grid_of_its_header(encoders):
    for encoder in encoders.values():
        size = encoder.decode_size(2000, 500, 12)
        planned, _ = encoder.visual_sizes(np.array([2000]), np.array([500]), 12)
        encoded = encoder.encode(sample_of([(1, 1)]), [picture(*size)], 12, [(2000, 500)])
        assert encoded.visual_tokens == tuple(planned)


def test_a_tokenizer_without_the_marks_of_lines_is_refused(checkpoints, tmp_path):
    for file in checkpoints["mistral3"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "processor_config.json").write_text('{"image_break_token": "[LINE]"}')
    with pytest.raises(DataError, match=r"the tokenizer lacks '\[LINE\]', which ends lines of an image"):
        ChatEncoder(tmp_path).encode(sample_of([(9, 9)]), [picture(9, 9)], None)


@pytest.mark.parametrize("name", ["glm4v", "glm5_next", "mistral3"])
def test_a_packed_row_gives_what_stock_transformers_gives_each_sample(checkpoints, name):
    """Positions, borders and patches are ours; the reference computes its own from what its processor hands over."""
    torch.set_num_threads(1)
    network = Transformers(checkpoint=str(checkpoints[name]), device="cpu").load(None)
    reference = Transformers(checkpoint=str(checkpoints[name]), device="cpu", attention="sdpa").load(None).module
    shapes = [[(60, 200), (40, 40)], [], [(90, 30)]]
    encoded = [network.encoder.encode(sample_of(own), [picture(*s) for s in own], None) for own in shapes]
    hidden = network.hidden_states(assemble(encoded)).detach()
    start = 0
    for sample in encoded:
        inputs = {"input_ids": torch.from_numpy(sample.input_ids)[None]}
        if sample.vision:
            arrays = {key: torch.from_numpy(array) for key, array in sample.vision.items()}
            if name == "mistral3":
                arrays = tower_inputs("pixtral", arrays["pixel_values"], arrays["image_grid_thw"], 14)
            elif network.family.types_argument:
                arrays["mm_token_type_ids"] = torch.from_numpy(sample.token_types)[None]
            inputs |= arrays
        with torch.no_grad():
            alone = reference.model(**inputs, use_cache=False).last_hidden_state[0]
        torch.testing.assert_close(hidden[start : start + len(sample)], alone, rtol=1e-4, atol=1e-5)
        start += len(sample)


@pytest.mark.parametrize("name", ["glm4v", "glm5_next", "mistral3"])
def test_it_is_proven_apart_trains_answers_and_reloads(checkpoints, name, tmp_path):
    torch.set_num_threads(1)
    network = Transformers(checkpoint=str(checkpoints[name]), device="cpu").load(None)
    assert network.can_pack()[0], network.can_pack()[1]
    shapes = [[(60, 200), (40, 40)], [], [(90, 30)]]
    row = assemble([network.encoder.encode(sample_of(own), [picture(*s) for s in own], 8) for own in shapes])
    network.module.train()
    network.output_embedding()(network.hidden_states(row)).logsumexp(-1).sum().backward()
    silent = {key for key, parameter in network.module.named_parameters() if parameter.grad is None}
    assert all(".indexer." in key for key in silent) and bool(silent) is (name == "glm5_next")  # chosen, not learned
    assert {group for group, members in network.parameter_groups().items() if not members} == set()
    requests = [
        Request(sample_id=str(n), turns=(Turn(role="user", content=(*range(n), "Which plane?")),),
                media=(Media(data=make_image(64, 200)),) * n, generation=Generation(max_new_tokens=4))
        for n in range(3)
    ]  # fmt: skip
    media = MediaLoader({"image": Image()})
    before = sorted(network.answer(requests, media), key=lambda answer: answer.sample_id)
    assert [answer.error for answer in before] == [None] * 3
    alone = [next(iter(network.answer([request], media))) for request in requests]
    network.save(tmp_path)
    saved = Transformers(checkpoint=str(tmp_path), device="cpu").load(None)
    after = sorted(saved.answer(requests, media), key=lambda answer: answer.sample_id)
    assert before == alone == after


def test_a_gemma_that_hears_is_opened_trained_and_saved_with_its_ear(checkpoints, tmp_path):
    """As E2B and E4B are published: transformers has no other attention than its own for the audio tower."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = AutoConfig.from_pretrained(checkpoints["gemma4"])
    audio = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "output_proj_dims": 32}
    config.audio_config = type(config).sub_configs["audio_config"](**audio, subsampling_conv_channels=[8, 4])
    for file in checkpoints["gemma4"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    AutoModelForImageTextToText.from_config(config).save_pretrained(tmp_path)
    network = Transformers(checkpoint=str(tmp_path), device="cpu").load(None)
    row = assemble([network.encoder.encode(sample_of([(60, 90)]), [picture(60, 90)], 8)], padded=True)
    network.hidden_states(row).sum().backward()
    silent = {name for name, parameter in network.module.named_parameters() if parameter.grad is None}
    assert silent and all("audio" in name for name in silent)
    assert silent <= {name for group in ("vision", "projector") for name in network.parameter_groups()[group]}
    network.save(tmp_path / "saved")
    assert Transformers(checkpoint=str(tmp_path / "saved"), device="cpu").load(None).identity == network.identity


def test_the_smaller_gemmas_and_those_with_experts_are_kept_apart_too():
    from transformers import Gemma4Config

    experts = {"enable_moe_block": True, "num_experts": 8, "top_k_experts": 2, "moe_intermediate_size": 64}
    for text in ({"num_kv_shared_layers": 12}, {**experts, "use_bidirectional_attention": "vision"}):
        config = Gemma4Config(text_config=text, vision_config={}, audio_config={})
        logits, gradients = measure(config)
        assert logits <= 1e-5 and gradients <= 1e-4
