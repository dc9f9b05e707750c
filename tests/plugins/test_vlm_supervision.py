"""What carries loss: as a run file says, as a template's generation markers say, and what is told of a template."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from transformers import AutoTokenizer

from infimed_core import IGNORED_LABEL, DataError, Generation, MediaLoader, Request, Sample, Turn
from infimed_core.testing import make_sample
from infimed_plugins.vlm.chat import Chat
from infimed_plugins.vlm.chat_settings import ChatSettings, replaced_generation
from infimed_plugins.vlm.encoding import ChatEncoder
from infimed_plugins.vlm.tiny import TinyQwen3VL

FRAME = """
{%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\\n' -}}
    {%- if message.role == 'assistant' -%}BODY
    {%- else -%}{{- message.content + '<|im_end|>\\n' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
MARKED = {
    "to the end token": "{%- generation -%}{{- message.content + '<|im_end|>' -}}{%- endgeneration -%}{{- '\\n' -}}",
    "to the line": "{%- generation -%}{{- message.content + '<|im_end|>\\n' -}}{%- endgeneration -%}",
    "without the end token": "{%- generation -%}{{- message.content -}}{%- endgeneration -%}{{- '<|im_end|>\\n' -}}",
    "after a word": "{{- 'Answer: ' -}}{% generation %}{{- message.content + '<|im_end|>' -}}{% endgeneration %}"
    "{{- '\\n' -}}",
    "in two parts": "{%- generation -%}{{- message.content -}}{%- endgeneration -%}{{- ' .' -}}"
    "{%- generation -%}{{- '<|im_end|>' -}}{%- endgeneration -%}{{- '\\n' -}}",
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    model = TinyQwen3VL(layers=1, vision_layers=1)
    return model.prepare(tmp_path_factory.mktemp("tiny"), lambda: ["The liver is bright."], 0)


@pytest.fixture(scope="module")
def tokenizer(checkpoint):
    return TinyQwen3VL().encoder(checkpoint).tokenizer


def with_body(tokenizer, body):
    other = pickle.loads(pickle.dumps(tokenizer))
    other.chat_template = FRAME.replace("BODY", body)
    return other


def conversation(*answers):
    return tuple(
        Turn(role=role, content=(text,))
        for number, answer in enumerate(answers)
        for role, text in (("user", f"Question {number}?"), ("assistant", answer))
    )


def masks(tokenizer, turns):
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    found = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    return found["input_ids"], [bool(flag) for flag in found["assistant_masks"]]


@pytest.mark.parametrize("body", sorted(MARKED))
@pytest.mark.parametrize("answers", [("The liver.",), ("The liver.", "Bright <b>"), ("a", "b {c}", " d ")])
def test_the_mask_is_that_of_the_templates_own_generation_markers(tokenizer, body, answers):
    own = with_body(tokenizer, MARKED[body])
    turns = conversation(*answers)
    tokens = Chat(own).tokenize([turns])[0]
    assert (tokens.ids.tolist(), tokens.supervised.tolist()) == masks(own, turns)


@pytest.mark.parametrize("body", sorted(MARKED))
def test_markers_hold_for_the_turns_that_are_supervised_alone(tokenizer, body):
    own = with_body(tokenizer, MARKED[body])
    turns = conversation("one", "two", "three")
    whole = Chat(own).tokenize([turns])[0].supervised
    parts = [
        Chat(own)
        .tokenize([[turn.model_copy(update={"supervised": n == m}) for n, turn in enumerate(turns)]])[0]
        .supervised
        for m in (1, 3, 5)
    ]
    assert (np.sum(parts, axis=0) == whole).all() and all(part.any() for part in parts)


def test_a_template_that_never_ends_an_answer_is_told(tokenizer):
    ends = {tokenizer.eos_token_id}
    assert Chat(tokenizer).told_ending(ends) == ""
    for body in ("{{- message.content + '\\n' -}}", MARKED["without the end token"]):
        assert "does not learn to stop" in Chat(with_body(tokenizer, body)).told_ending(ends)
    other = with_body(tokenizer, "{{- message.content + '<|vision_end|>\\n' -}}")
    assert "'<|vision_end|>', at which generation does not stop" in Chat(other).told_ending(ends)


def learned(encoder, sample):
    encoded = encoder.encode(sample, [], None)
    return encoder.text(encoded.labels[encoded.labels != IGNORED_LABEL])


def marked_sample():
    first, second, third, fourth = conversation("one", "two")
    return Sample(id="s", turns=(first, second, third, fourth.model_copy(update={"supervised": False})))


def test_supervise_chooses_the_answers_that_carry_loss(checkpoint):
    texts = {
        how: learned(ChatEncoder(checkpoint, settings=ChatSettings(how)), marked_sample())
        for how in ("marked", "last", "all")
    }
    assert texts == {"marked": "one<|im_end|>", "last": "two<|im_end|>", "all": "one<|im_end|>two<|im_end|>"}


def test_what_is_supervised_is_counted_as_it_is_encoded(checkpoint):
    for settings in (ChatSettings("last"), ChatSettings("all", True), ChatSettings("marked", True)):
        encoder = ChatEncoder(checkpoint, settings=settings)
        lengths = encoder.text_lengths([marked_sample(), make_sample(images=[])])
        made = [encoder.encode(sample, [], None) for sample in (marked_sample(), make_sample(images=[]))]
        assert lengths.supervised.tolist() == [one.num_supervised for one in made]


def test_prompt_loss_learns_every_token_but_those_of_images(checkpoint):
    encoder = ChatEncoder(checkpoint, settings=ChatSettings(prompt_loss=True))
    sample = Sample(
        id="s", turns=(Turn(role="user", content=(0, "Which?")), Turn(role="assistant", content=("axial",)))
    )
    encoded = encoder.encode(sample, [np.zeros((64, 64, 3), dtype=np.uint8)], 4)
    predicted = encoded.labels[:-1] != IGNORED_LABEL
    assert (predicted == (encoded.token_types[1:] == 0)).all() and encoded.token_types.sum() == 4
    prompt = encoder.prompt("s", sample.turns[:1], [np.zeros((64, 64, 3), dtype=np.uint8)], 4)
    assert (prompt.labels == IGNORED_LABEL).all()


def test_supervision_changes_the_encoder_and_not_what_the_model_is_asked(checkpoint):
    plain, last = TinyQwen3VL(), TinyQwen3VL(supervise="last", prompt_loss=True)
    assert plain.encoder(checkpoint).identity != last.encoder(checkpoint).identity
    assert plain.encoder(checkpoint).asked_digest == last.encoder(checkpoint).asked_digest
    assert plain.identity() == last.identity() and plain.weights_identity() == last.weights_identity()


def test_a_template_from_a_file_is_used_and_saved_with_the_model(checkpoint, tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text(FRAME.replace("BODY", "{{- 'I say: ' + message.content + '<|im_end|>\\n' -}}"))
    model = TinyQwen3VL(chat_template=str(file), layers=1, vision_layers=1)
    assert model.problems({}) == {}
    encoder = model.encoder(checkpoint)
    assert learned(encoder, marked_sample()) == "I say: one<|im_end|>"
    assert encoder.identity != TinyQwen3VL().encoder(checkpoint).identity
    assert model.identity() != TinyQwen3VL(layers=1, vision_layers=1).identity()
    model.load(checkpoint).save(tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").chat_template == file.read_text()
    missing = TinyQwen3VL(chat_template=str(tmp_path / "none.jinja"))
    assert "no such file" in missing.problems({})["chat_template"]
    with pytest.raises(DataError, match=r"none\.jinja"):
        missing.encoder(checkpoint)


def test_a_checkpoints_way_of_sampling_is_told_and_changes_no_answer(checkpoint, tmp_path):
    import shutil

    model = TinyQwen3VL(layers=1, vision_layers=1)
    requests = [
        Request(
            sample_id=str(n),
            turns=(Turn(role="user", content=(f"Number {n}?",)),),
            generation=Generation(max_new_tokens=8),
        )
        for n in range(3)
    ]
    plain = [answer.text for answer in model.load(checkpoint).answer(requests, MediaLoader({}))]
    other = shutil.copytree(checkpoint, tmp_path / "other")
    body = json.loads((other / "generation_config.json").read_text())
    body |= {
        "do_sample": True,
        "temperature": 0.7,
        "top_k": 20,
        "num_beams": 3,
        "no_repeat_ngram_size": 1,
        "min_p": 0.1,
    }
    (other / "generation_config.json").write_text(json.dumps(body))
    loaded = model.load(other)
    assert [answer.text for answer in loaded.answer(requests, MediaLoader({}))] == plain
    assert loaded.module.generation_config.num_beams == 3
    replaced = loaded.asking()["generation_config_replaced"]
    assert replaced == {key: body[key] for key in sorted(replaced)} and len(replaced) == 6
    assert replaced_generation(checkpoint) == {}
