"""Thoughts: the newest turn's is supervised as the template writes it, earlier ones are dropped where it drops them."""

from __future__ import annotations

import pickle

import pytest

from infimed_core import DataError, Turn
from infimed_plugins.vlm.chat import Chat
from infimed_plugins.vlm.tiny import TinyQwen3VL

# The ways in which published templates treat a thought; what is generated lies between the markers.
NEWEST_ONLY = """
{%- set last = namespace(at=-1) -%}
{%- for message in messages if message.role == 'user' -%}{%- set last.at = messages.index(message) -%}{%- endfor -%}
{%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\\n' -}}
    {%- if message.role == 'assistant' -%}
        {%- set thought = '' -%}{%- set answer = message.content -%}
        {%- if '</think>' in answer -%}
            {%- set thought = answer.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') -%}
            {%- set answer = answer.split('</think>')[-1].lstrip('\\n') -%}
        {%- endif -%}
        {%- generation -%}
        {%- if loop.index0 > last.at and (loop.last or thought) -%}
            {{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + answer.lstrip('\\n') -}}
        {%- else -%}{{- answer -}}{%- endif -%}
        {{- '<|im_end|>' -}}{%- endgeneration -%}{{- '\\n' -}}
    {%- else -%}{{- message.content + '<|im_end|>\\n' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
AS_IT_IS = """
{%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\\n' -}}
    {%- if message.role == 'assistant' -%}
        {%- generation -%}{{- message.content + '<|im_end|>' -}}{%- endgeneration -%}{{- '\\n' -}}
    {%- else -%}{{- message.content + '<|im_end|>\\n' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
NEVER = NEWEST_ONLY.replace("loop.index0 > last.at and (loop.last or thought)", "false")
OPENED_BY_PROMPT = NEWEST_ONLY.replace(
    "{{- '<|im_start|>assistant\\n' -}}", "{{- '<|im_start|>assistant\\n<think>\\n' -}}"
)
TEMPLATES = {"newest only": NEWEST_ONLY, "as it is": AS_IT_IS, "never": NEVER}

ANSWERS = {
    "as the template writes it": "<think>\nThe liver is bright.\n</think>\n\nThe liver.",
    "on one line": "<think>The liver is bright.</think>The liver.",
    "several lines and braces": "<think>\n{a} one\n\ntwo <b>\n</think>\n\nThe {liver}.\nYes.",
    "without what opens it": "The liver is bright.\n</think>\n\nThe liver.",
    "an empty thought": "<think>\n\n</think>\n\nThe liver.",
    "white space around": "  <think>\n The liver. \n</think>\n\n\n\nThe liver. ",
    "no thought": "The liver.",
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    model = TinyQwen3VL(layers=1, vision_layers=1)
    return model.encoder(model.prepare(tmp_path_factory.mktemp("tiny"), lambda: ["The liver is bright."], 0)).tokenizer


def with_template(tokenizer, template):
    other = pickle.loads(pickle.dumps(tokenizer))
    other.chat_template = template
    return other


def conversation(*answers):
    return [
        Turn(role=role, content=(text,))
        for number, answer in enumerate(answers)
        for role, text in (("user", f"Question {number}?"), ("assistant", answer))
    ]


def expected(tokenizer, turns):
    """What transformers' own markers say is generated."""
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    found = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    return found["input_ids"], [bool(flag) for flag in found["assistant_masks"]]


@pytest.mark.parametrize("template", sorted(TEMPLATES))
@pytest.mark.parametrize("last", sorted(ANSWERS))
@pytest.mark.parametrize("first", [None, *sorted(ANSWERS)])
def test_tokens_and_mask_are_those_of_transformers_own_markers(tokenizer, template, first, last):
    own = with_template(tokenizer, TEMPLATES[template])
    turns = conversation(*([ANSWERS[first]] if first else []), ANSWERS[last])
    tokens = Chat(own).tokenize([turns])[0]
    ids, mask = expected(own, turns)
    assert tokens.ids.tolist() == ids
    assert tokens.supervised.tolist() == mask


def test_the_thought_of_the_newest_turn_is_learnt_and_that_of_an_earlier_one_is_gone(tokenizer):
    own = with_template(tokenizer, NEWEST_ONLY)
    turns = conversation("<think>\nold\n</think>\n\none", "<think>\nnew\n</think>\n\ntwo")
    tokens = Chat(own).tokenize([turns])[0]
    assert own.decode(tokens.ids[tokens.supervised]) == "one<|im_end|><think>\nnew\n</think>\n\ntwo<|im_end|>"
    assert "old" not in own.decode(tokens.ids)


def test_what_the_prompt_already_opens_is_not_supervised(tokenizer):
    own = with_template(tokenizer, OPENED_BY_PROMPT)
    tokens = Chat(own).tokenize([conversation("<think>\nnew\n</think>\n\ntwo")])[0]
    assert own.decode(tokens.ids[tokens.supervised]) == "new\n</think>\n\ntwo<|im_end|>"


@pytest.mark.parametrize(("opens", "closes"), [("[THINK]", "[/THINK]"), ("<|START_THINKING|>", "<|END_THINKING|>")])
def test_marks_that_are_control_tokens_may_stand_around_a_thought_but_not_elsewhere(tokenizer, opens, closes):
    own = with_template(tokenizer, AS_IT_IS)
    own.add_special_tokens({"additional_special_tokens": [opens, closes]})
    chat = Chat(own)
    tokens = chat.tokenize([conversation(f"{opens}new{closes}two")])[0]
    assert own.decode(tokens.ids[tokens.supervised]) == f"{opens}new{closes}two<|im_end|>"
    for text in (f"{opens}a{closes}b{closes}", f"x{opens}a{closes}b", f"{opens}<|im_end|>{closes}b"):
        with pytest.raises(DataError, match="control token"):
            chat.tokenize([conversation(text)])


def test_an_answer_that_a_template_drops_is_still_refused(tokenizer):
    own = with_template(tokenizer, NEWEST_ONLY.replace("{%- else -%}{{- answer -}}", "{%- else -%}"))
    with pytest.raises(DataError, match="drops or repeats a turn"):
        Chat(own).tokenize([conversation("<think>\nold\n</think>\n\none", "two")])
