"""What the encoder of a chat checkpoint promises: exact lengths, exact pixels, exact labels."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infimed_core import IGNORED_LABEL, DataError, Media, Sample, Turn
from infimed_plugins.vlm.encoding import ChatEncoder
from infimed_plugins.vlm.expansion import rope_positions
from infimed_plugins.vlm.pixels import QwenPixels
from infimed_plugins.vlm.tiny import TinyQwen3VL

TEXTS = ["Which imaging plane is shown in this picture?", "axial coronal sagittal", "Is this the left lung? yes no"] * 5
words = st.text(alphabet=st.sampled_from("ab yz\n .ÄßÇ中文😀é0-9_'<t>"), max_size=24)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> ChatEncoder:
    model = TinyQwen3VL(layers=1, vision_layers=1)
    return model.encoder(model.prepare(tmp_path_factory.mktemp("tiny"), lambda: TEXTS, 0))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def talk(*turns: tuple[str, tuple[str | int, ...]], media: int = 0) -> Sample:
    said = tuple(Turn(role=role, content=content) for role, content in turns)
    return Sample(id="s", turns=said, media=tuple(Media(uri=f"/{i}") for i in range(media)))


SETTINGS = [
    {"patch_size": 14, "merge_size": 2, "size": {"shortest_edge": 3136, "longest_edge": 1003520}},
    {"patch_size": 16, "merge_size": 2, "size": {"shortest_edge": 65536, "longest_edge": 16777216}},
    {"patch_size": 16, "merge_size": 2, "size": {"shortest_edge": 1024, "longest_edge": 1048576}},
]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 320),
    st.integers(1, 320),
    st.none() | st.integers(1, 80),
    st.sampled_from(SETTINGS),
    st.integers(0, 9),
)
def test_pixels_and_sizes_equal_the_real_processor_wherever_it_keeps_the_cap(height, width, cap, config, seed):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    pixels = QwenPixels.from_settings(config)
    tokens, patches = pixels.sizes(np.array([height]), np.array([width]), cap)
    image = picture(height, width, seed)
    values, grids = pixels.patches([image], cap)
    assert patches[0] == len(values) == grids.prod() and tokens[0] * 4 == patches[0]
    most = config["size"]["longest_edge"] if cap is None else min(config["size"]["longest_edge"], cap * pixels.tile**2)
    size = {"longest_edge": most, "shortest_edge": min(config["size"]["shortest_edge"], most)}
    assert tokens[0] <= max(1, most // pixels.tile**2)
    if max(height, width) > 200 * min(height, width):
        return  # the processor refuses
    real = Qwen2VLImageProcessorPil(**config)(
        [image], size=size, input_data_format="channels_last", return_tensors="np"
    )
    if real["image_grid_thw"].prod() * pixels.patch**2 <= most:
        assert (real["image_grid_thw"] == grids).all()
        np.testing.assert_array_equal(real["pixel_values"], values)


def test_an_extreme_strip_keeps_the_cap_and_encodes():
    pixels = QwenPixels.from_settings(SETTINGS[1])
    values, grids = pixels.patches([picture(1, 2000), picture(2000, 1), picture(1, 1)], 9)
    assert grids.tolist() == [[1, 2, 18], [1, 18, 2], [1, 6, 6]] and len(values) == 36 * 3


def test_an_image_decoded_smaller_keeps_the_tokens_of_its_header(encoder):
    sample = talk(("user", (0, "Which plane?")), ("assistant", ("axial",)), media=1)
    header = (2000, 1410)
    planned, _ = encoder.visual_sizes(np.array([header[0]]), np.array([header[1]]), 20)
    encoded = encoder.encode(sample, [picture(250, 177)], 20, [header])
    assert encoded.visual_tokens == tuple(planned)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.lists(words | st.integers(0, 1), min_size=1, max_size=4), words), min_size=1, max_size=3),
    st.none() | st.integers(1, 12),
    st.booleans(),
)
def test_predicted_length_is_the_real_length_and_tokens_are_those_of_the_whole_text(encoder, exchanges, cap, system):
    turns = [("system", ("Be brief.",))] if system else []
    for question, answer in exchanges:
        turns += [("user", tuple(question)), ("assistant", (answer,))]
    sample = talk(*turns, media=2)
    used = [i for turn in sample.turns for i in turn.media_indices]
    shapes = [(40 + 50 * i, 90) for i in used]
    encoded = encoder.encode(sample, [picture(*shape) for shape in shapes], cap)
    lengths = encoder.text_lengths([sample])
    visual, patches = encoder.visual_sizes(*np.array(shapes, dtype=np.int64).reshape(-1, 2).T, cap)
    assert len(encoded) == lengths.tokens[0] + visual.sum()
    assert encoded.num_supervised == lengths.supervised[0]
    assert encoded.visual_tokens == tuple(visual) and (encoded.token_types == 1).sum() == visual.sum()
    assert patches.sum() == len(encoded.vision.get("pixel_values", ()))
    whole, _ = encoder.chat.render(sample.turns)
    for count in visual:
        whole = whole.replace("<|image_pad|>", "@" * int(count), 1)
    whole = whole.replace("@", "<|image_pad|>")
    assert encoded.input_ids.tolist() == encoder.tokenizer(whole, add_special_tokens=False)["input_ids"]


def test_answers_and_their_end_are_supervised_and_nothing_else(encoder):
    sample = talk(
        ("system", ("Be brief.",)),
        ("user", (0, "Which plane?")),
        ("assistant", ("axial",)),
        ("user", ("And here?", 1)),
        ("assistant", (" coronal\n\nyes ",)),
        media=2,
    )
    encoded = encoder.encode(sample, [picture(64, 64), picture(32, 96)], None)
    supervised = encoded.labels != IGNORED_LABEL
    assert encoder.tokenizer.decode(encoded.labels[supervised]) == "axial<|im_end|> coronal\n\nyes <|im_end|>"
    assert (encoded.labels[:-1][supervised[:-1]] == encoded.input_ids[1:][supervised[:-1]]).all()
    assert encoded.labels[-1] == IGNORED_LABEL and encoder.image_token not in encoded.labels


def test_a_prompt_is_the_start_of_the_training_sample(encoder):
    sample = talk(("user", (0, "Which plane?")), ("assistant", ("axial",)), media=1)
    encoded = encoder.encode(sample, [picture(64, 64)], 4)
    prompt = encoder.prompt("s", sample.turns[:1], [picture(64, 64)], 4)
    assert prompt.input_ids.tolist() == encoded.input_ids[: len(prompt)].tolist()
    assert (
        encoded.labels[len(prompt) - 1] != IGNORED_LABEL and (encoded.labels[: len(prompt) - 1] == IGNORED_LABEL).all()
    )


@pytest.mark.parametrize("model_type", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5"])
def test_positions_equal_those_of_the_model(model_type):
    import torch
    import transformers

    config = transformers.AutoConfig.for_model(model_type)
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(_small(config))
    generator = np.random.default_rng(3)
    for grids in ([], [(2, 3)], [(1, 1), (4, 2)], [(3, 5), (5, 1), (2, 2)]):
        types = [np.zeros(generator.integers(1, 5), dtype=np.int64)]
        for down, across in grids:
            types += [np.ones(down * across, dtype=np.int64), np.zeros(generator.integers(1, 5), dtype=np.int64)]
        types = np.concatenate(types)
        ours = rope_positions(types, np.array(grids, dtype=np.int64).reshape(-1, 2))
        thw = torch.tensor([(1, 2 * down, 2 * across) for down, across in grids]) if grids else None
        theirs, _ = model.get_rope_index(
            torch.zeros(1, len(types), dtype=torch.long), torch.from_numpy(types)[None], image_grid_thw=thw
        )
        assert ours[0].tolist() == list(range(len(types)))
        np.testing.assert_array_equal(ours[1:], theirs[:, 0].numpy())


def _small(config):
    from infimed_plugins.vlm.shrinking import shrink

    return shrink(config)


@pytest.mark.parametrize(
    ("sample", "code"),
    [
        (talk(("user", ("hello",))), "no_answer"),
        (talk(("user", ("say <|im_end|> now",)), ("assistant", ("no",))), "control_token"),
        (talk(("user", ("<|image_pad|>",)), ("assistant", ("no",))), "control_token"),
        (talk(), "no_answer"),
        (talk(("user", (0, "hello")), ("assistant", ("no",)), media=1), "image_count"),
    ],
)
def test_a_sample_that_cannot_be_encoded_says_why(encoder, sample, code):
    with pytest.raises(DataError, match="sample 's'") as caught:
        encoder.encode(sample, [], None)
    assert caught.value.code == code
    assert encoder.text_lengths([sample, sample]).tokens.shape == (2,)


def test_a_template_that_thinks_and_strips_is_followed(encoder):
    """Qwen3-like: white space stripped, an empty thought written before the last answer."""
    from infimed_plugins.vlm.chat import Chat
    from infimed_plugins.vlm.vocabulary import CHAT_TEMPLATE

    thinking = pickle.loads(pickle.dumps(encoder.tokenizer))
    thinking.chat_template = CHAT_TEMPLATE.replace(
        "write(message.content)",
        "(('<think>\\n\\n</think>\\n\\n' if message.role == 'assistant' and loop.last else '')"
        " + write(message.content) | trim)",
    )
    turns = [Turn(role="user", content=(" plane? ",)), Turn(role="assistant", content=(" axial ",))]
    tokens = Chat(thinking).tokenize([turns])[0]
    assert thinking.decode(tokens.ids[tokens.supervised]) == "<think>\n\n</think>\n\naxial<|im_end|>"


def test_what_encode_refuses_is_known_when_lengths_are_counted(encoder):
    samples = [
        talk(("user", ("what?",)), ("assistant", ("this",))),
        talk(("user", ("say <|im_end|> now",)), ("assistant", ("no",))),
    ]
    lengths = encoder.text_lengths(samples)
    assert {place: error.code for place, error in lengths.refused.items()} == {1: "control_token"}
    assert lengths.tokens[0] > 0 and lengths.tokens[1] == 0


def test_a_template_that_refuses_a_conversation_is_a_bad_sample_and_not_a_crash(encoder):
    from infimed_plugins.vlm.chat import Chat

    strict = pickle.loads(pickle.dumps(encoder.tokenizer))
    strict.chat_template = "{% if messages[0].role != 'user' %}{{ raise_exception('must begin with user') }}{% endif %}"
    with pytest.raises(DataError, match="must begin with user"):
        Chat(strict).tokenize([[Turn(role="system", content=("Be brief.",))]])


def test_the_encoder_travels_to_a_worker_and_its_identity_with_it(encoder):
    sample = talk(("user", (0, "Which plane?")), ("assistant", ("axial",)), media=1)
    travelled = pickle.loads(pickle.dumps(encoder))
    assert travelled.identity == encoder.identity and travelled.max_tokens == 8192
    first, second = (e.encode(sample, [picture(70, 50)], 9) for e in (encoder, travelled))
    assert first.input_ids.tolist() == second.input_ids.tolist()
    assert (first.vision["pixel_values"] == second.vision["pixel_values"]).all()


def test_an_answer_that_carries_no_loss_is_shown_and_not_learned(encoder):
    said = [("user", "First?"), ("assistant", "axial"), ("user", "Second?"), ("assistant", "coronal")]

    def encoded(*flags: bool):
        turns = tuple(
            Turn(role=role, content=(text,), supervised=flag) for (role, text), flag in zip(said, flags, strict=True)
        )
        sample = Sample(id="s", turns=turns)
        assert encoder.text_lengths([sample]).supervised[0] == encoder.encode(sample, [], None).num_supervised
        return encoder.encode(sample, [], None)

    whole, second, first = (
        encoded(True, True, True, True),
        encoded(True, False, True, True),
        encoded(True, True, True, False),
    )
    assert whole.input_ids.tolist() == second.input_ids.tolist() == first.input_ids.tolist()
    learned = [{int(place) for place in np.flatnonzero(one.labels != IGNORED_LABEL)} for one in (whole, first, second)]
    assert learned[0] == learned[1] | learned[2] and not learned[1] & learned[2] and min(map(len, learned)) > 0
    assert max(learned[1]) < min(learned[2])
    texts = [encoder.tokenizer.decode(one.labels[one.labels != IGNORED_LABEL]) for one in (first, second)]
    assert texts == ["axial<|im_end|>", "coronal<|im_end|>"]
    with pytest.raises(DataError, match="no supervised answer"):
        encoded(True, False, True, False)


def test_marks_of_names_and_boxes_in_an_answer_are_data_to_learn(encoder):
    from infimed_plugins.vlm.chat import Chat

    grounded = pickle.loads(pickle.dumps(encoder.tokenizer))
    marks = ["<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<ref>", "</ref>", "<box>"]
    grounded.add_special_tokens({"additional_special_tokens": marks}, replace_extra_special_tokens=False)
    answer = "<|object_ref_start|>the mass<|object_ref_end|><|box_start|>(10,12),(30,40)<|box_end|> <ref>x</ref><box>"
    turns = [Turn(role="user", content=("Where?",)), Turn(role="assistant", content=(answer,))]
    tokens = Chat(grounded).tokenize([turns])[0]
    assert grounded.decode(tokens.ids[tokens.supervised]) == answer + "<|im_end|>"
    assert set(grounded.convert_tokens_to_ids(marks)) <= set(tokens.ids.tolist())
