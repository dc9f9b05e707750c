"""A small vocabulary in Gemma's format, trained on given text: a visible space, and bytes for what is unknown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from infimed_plugins.vlm.vocabulary import ALWAYS_KNOWN

BASIC_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
IMAGE_TOKENS = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
GEMMA4_TOKENS = {"boi_token": "<|image>", "eoi_token": "<image|>", "image_token": "<|image|>"}
TURN_TOKENS = ("<start_of_turn>", "<end_of_turn>")
SPACE = "\u2581"

CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- set opening = namespace(text='') -%}
{%- for message in messages -%}
    {%- if message.role == 'system' -%}
        {%- set opening.text = message.content + '\\n\\n' -%}
    {%- else -%}
        {{- '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' + opening.text -}}
        {%- set opening.text = '' -%}
        {%- if message.content is string -%}
            {{- message.content | trim -}}
        {%- else -%}
            {%- for part in message.content -%}
                {{- '<start_of_image>' if part.type == 'image' else part.text | trim -}}
            {%- endfor -%}
        {%- endif -%}
        {{- '<end_of_turn>\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<start_of_turn>model\\n' -}}
{%- endif -%}
"""
"""Gemma's conversation format: the system turn opens the first user turn, texts are trimmed, and an image is one token
that the processor surrounds with more."""

GEMMA4_TURNS = ("<|turn>", "<turn|>")
GEMMA4_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
    {{- '<|turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' -}}
    {%- if message.content is string -%}
        {{- message.content | trim -}}
    {%- else -%}
        {%- for part in message.content -%}
            {{- '<|image|>' if part.type == 'image' else part.text | trim -}}
        {%- endfor -%}
    {%- endif -%}
    {{- '<turn|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|turn>model\\n' -}}
{%- endif -%}
"""
"""Gemma 4's: system turns are turns of their own, and an image is the one token that the processor multiplies."""


def train_gemma_tokenizer(texts: Iterable[str], vocab_size: int, fourth: bool = False) -> Any:
    """A fast Gemma tokenizer with at most ``vocab_size`` entries before its added tokens; ``fourth`` is Gemma 4's."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import GemmaTokenizer

    learner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    learner.normalizer = normalizers.Replace(" ", SPACE)
    learner.pre_tokenizer = pre_tokenizers.Split(SPACE, behavior="merged_with_next")  # no piece of several words
    first = [*BASIC_TOKENS, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=first, min_frequency=2, show_progress=False)
    learner.train_from_iterator([ALWAYS_KNOWN, ALWAYS_KNOWN, "\n", *texts], trainer)
    model = json.loads(learner.to_str())["model"]
    merges: Any = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]]
    images, turns = (GEMMA4_TOKENS, GEMMA4_TURNS) if fourth else (IMAGE_TOKENS, TURN_TOKENS)
    tokenizer = GemmaTokenizer(vocab=model["vocab"], merges=merges, extra_special_tokens=images)
    tokenizer.add_tokens([AddedToken("\n" * count, normalized=False) for count in (2, 3, 4)])
    tokenizer.add_special_tokens({"additional_special_tokens": list(turns)}, replace_extra_special_tokens=False)
    tokenizer.chat_template = GEMMA4_TEMPLATE if fourth else CHAT_TEMPLATE
    return tokenizer
