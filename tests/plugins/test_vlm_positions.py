"""A pooled image keeps the positions of its whole grid: a cap that rises moves no text and no part of an image."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infimed_core import Generation, Media, MediaLoader, Request, Sample, Turn
from infimed_core.packing import assemble
from infimed_core.testing import make_image
from infimed_plugins.image.modality import Image
from infimed_plugins.vlm.checkpoint import Transformers
from infimed_plugins.vlm.encoding import ChatEncoder, pooled_positions
from infimed_plugins.vlm.rows import row_hidden_states
from infimed_plugins.vlm.small import write_small_checkpoint

MEDIA = MediaLoader({"image": Image()})
TEXTS = ["Which plane is this? axial or coronal or sagittal"] * 5


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.set_num_threads(1)
    return write_small_checkpoint("llava", tmp_path_factory.mktemp("llava"), TEXTS, seed=3)


def sample(number: int = 0) -> Sample:
    turns = (
        Turn(role="user", content=(0, "Which plane is this?", 1, "and this?")),
        Turn(role="assistant", content=("axial or coronal",)),
    )
    media = tuple(Media(data=make_image(40, 60, seed=2 * number + place)) for place in range(2))
    return Sample(id=f"{number}", turns=turns, media=media)


def encoded(encoder: ChatEncoder, cap: int | None, number: int = 0):
    made = sample(number)
    return encoder.encode(made, [MEDIA.load(item) for item in made.media], cap)


@given(st.integers(1, 14), st.integers(1, 14), st.data())
def test_pooled_tokens_stand_where_their_middle_stood_and_text_where_it_stands_without_a_cap(down, across, data):
    grids = data.draw(st.lists(st.tuples(st.integers(1, down), st.integers(1, across)), max_size=3))
    texts = [data.draw(st.integers(1, 4)) for _ in range(len(grids) + 1)]
    types, wanted, at = [0] * texts[0], list(range(texts[0])), texts[0]
    corners = []
    for (rows, columns), text in zip(grids, texts[1:], strict=True):
        corners.append((len(types), at))
        types += [1] * (rows * columns) + [0] * text
        at += down * across
        wanted += range(at, at + text)
        at += text
    found = pooled_positions(np.array(types, dtype=np.int64), np.array(grids).reshape(-1, 2), (down, across))
    assert found.shape == (1, len(types)) and found.dtype == np.int64 and (np.diff(found[0]) > 0).all()
    assert found[0, np.array(types) == 0].tolist() == wanted
    for (rows, columns), (first, corner) in zip(grids, corners, strict=True):
        row, column = np.divmod(found[0, first : first + rows * columns] - corner, across)
        number = np.arange(rows * columns)
        assert (np.abs(row - ((number // columns + 0.5) * down / rows - 0.5)) < 1).all()
        assert (np.abs(column - ((number % columns + 0.5) * across / columns - 0.5)) < 1).all()


def test_without_a_cap_and_with_other_attention_positions_count_tokens(checkpoint):
    spread, plain = ChatEncoder(checkpoint, spread=True), ChatEncoder(checkpoint)
    whole, few, counted = encoded(spread, None), encoded(spread, 4), encoded(plain, 4)
    assert whole.positions[0].tolist() == list(range(len(whole)))
    assert counted.positions[0].tolist() == list(range(len(counted)))
    assert len(few) < len(whole) and few.positions[0, -1] == whole.positions[0, -1]
    assert few.positions[0][few.token_types == 0].tolist() == whole.positions[0][whole.token_types == 0].tolist()
    assert spread.identity != plain.identity
    again = pickle.loads(pickle.dumps(spread))
    assert (encoded(again, 4).positions == few.positions).all() and again.identity == spread.identity


def test_a_sample_too_long_for_its_whole_grids_counts_tokens(checkpoint, monkeypatch):
    spread = ChatEncoder(checkpoint, spread=True)
    monkeypatch.setitem(spread.config["text_config"], "max_position_embeddings", len(encoded(spread, None)) - 1)
    few = encoded(spread, 4)
    assert few.positions[0].tolist() == list(range(len(few)))


def last_logits(model, samples) -> torch.Tensor:
    """Logits [samples, vocabulary] after the last token of each, in one packed row."""
    row = assemble(samples)
    with torch.no_grad():
        hidden = row_hidden_states(model.module, row, model.family)
        return model.module.get_output_embeddings()(hidden[torch.from_numpy(row.cu_seqlens[1:]).long() - 1])


def test_answers_and_rows_under_a_cap_take_the_same_positions(checkpoint):
    """The first token of an answer, asked in a padded batch, is the one that a packed row of the prompts gives."""
    model = Transformers(checkpoint=str(checkpoint), device="cpu", answer_max_visual_tokens=4).load(checkpoint)
    alone = Sample(id="text", turns=(Turn(role="user", content=("Which plane?",)),))
    one = Generation(max_new_tokens=1)
    requests = [
        Request(sample_id=made.id, turns=made.turns[:1], media=made.media, generation=one)
        for made in (*map(sample, range(12)), alone)
    ]
    prompts = [
        model.encoder.prompt(r.sample_id, r.turns, [MEDIA.load(item) for item in r.media], 4, None) for r in requests
    ]
    counted = [replace(prompt, positions=np.arange(len(prompt), dtype=np.int64)[None]) for prompt in prompts]
    logits, other = (last_logits(model, samples) for samples in (prompts, counted))
    assert (logits[:-1] - other[:-1]).abs().max() > 1e-3  # the positions matter
    found = {answer.sample_id: answer for answer in model.answer(requests, MEDIA)}
    tokenizer = model.encoder.tokenizer
    wanted = [tokenizer.decode([token], skip_special_tokens=True).strip() for token in logits.argmax(-1).tolist()]
    assert [found[request.sample_id].text for request in requests] == wanted
