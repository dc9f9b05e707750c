"""Answers that a model draws to learn from: the tokens that were drawn, at the positions at which they were drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from infimed_core import IGNORED_LABEL, DataError, Generation, Media, MediaLoader, Sample, Turn, assemble
from infimed_core.testing import make_image
from infimed_plugins.image.modality import Image
from infimed_plugins.vlm.tiny import TinyQwen3VL


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    language = {"hidden_size": 32, "layers": 2, "heads": 2, "key_value_heads": 1, "intermediate_size": 64}
    vision = {"vision_hidden_size": 32, "vision_layers": 2, "vision_heads": 2, "vision_intermediate_size": 64}
    source = TinyQwen3VL(**language, **vision)
    texts = lambda: iter(["Which plane is this? axial coronal sagittal " * 3])  # noqa: E731
    return source.load(source.prepare(tmp_path_factory.mktemp("tiny"), texts, 0))


@pytest.fixture
def media():
    return MediaLoader({"image": Image()})


def question(identity, question="Which plane is this?", seed=0, images=1):
    pictures = tuple(Media(data=make_image(64, 96, seed + i)) for i in range(images))
    turn = Turn(role="user", content=(*range(images), question))
    return Sample(id=identity, turns=(turn,), media=pictures)


def test_greedy_draws_are_the_likeliest_tokens_of_the_packed_row(model, media):
    prompts = [
        (question("a"), 9),
        (question("b", "And this one, which plane is it?", 3, 2), 4),
        (question("c", images=0), 9),
    ]
    drawn = model.draw(prompts, 2, Generation(max_new_tokens=6, temperature=1e-4), media)
    encoded = [answer for group in drawn for answer, _, _ in group]
    with torch.no_grad():
        logits = model.output_embedding()(model.hidden_states(assemble(encoded)))
    row = assemble(encoded)
    places = np.flatnonzero(row.labels != IGNORED_LABEL)
    assert len(places) >= len(encoded)
    assert (logits[places].argmax(-1).numpy() == row.labels[places]).all()


def test_draws_depend_on_seed_id_and_number_and_not_on_their_batch(model, media):
    generation = Generation(max_new_tokens=8, temperature=1.0, seed=5)
    prompts = [(question(name, seed=i), 9) for i, name in enumerate("abc")]
    together = model.draw(prompts, 3, generation, media)
    alone = [model.draw([prompt], 3, generation, media)[0] for prompt in prompts]
    texts = [[answer[0].input_ids.tolist() for answer in group] for group in together]
    assert texts == [[answer[0].input_ids.tolist() for answer in group] for group in alone]
    assert len({tuple(ids) for ids in texts[0]}) > 1
    other = model.draw(prompts, 3, generation.model_copy(update={"seed": 6}), media)
    assert texts != [[answer[0].input_ids.tolist() for answer in group] for group in other]


def test_what_cannot_be_opened_is_an_error_of_its_own_and_placeholders_are_never_drawn(model, media):
    broken = question("broken").model_copy(update={"media": (Media(data=b"no image"),)})
    config = model.encoder.config
    with torch.no_grad():
        model.module.get_output_embeddings().weight[config["image_token_id"]] *= 50
    found = model.draw([(broken, 9), (question("a"), 9)], 4, Generation(max_new_tokens=20, temperature=3.0), media)
    assert isinstance(found[0], DataError)
    for encoded, text, finished in found[1]:
        tokens = encoded.labels[encoded.labels != IGNORED_LABEL]
        assert config["image_token_id"] not in tokens and isinstance(text, str)
        assert finished == (len(tokens) < 20 or finished)
        assert (encoded.token_types[-len(tokens) :] == 0).all()
