"""Answers to learn from: drawn by the model itself, kept as the tokens that were drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from infimed_core import (
    IGNORED_LABEL,
    DataError,
    Encoded,
    Encoder,
    Generation,
    InfimedError,
    MediaLoader,
    Sample,
    encode_sample,
)
from infimed_plugins.vlm.answering import end_tokens, generate_tokens
from infimed_plugins.vlm.opened import OpenedModel


class _Prompts:
    """The encoder, so that ``encode_sample`` encodes a prompt."""

    def __init__(self, encoder: Any) -> None:
        self.encode, self._encoder = encoder.encode_prompt, encoder

    def decode_size(self, height: int, width: int, cap: int | None) -> tuple[int, int] | None:
        """The encoder's."""
        size: tuple[int, int] | None = self._encoder.decode_size(height, width, cap)
        return size


def draw(
    network: OpenedModel,
    prompts: Sequence[tuple[Sample, int | None]],
    count: int,
    generation: Generation,
    media: MediaLoader,
) -> list[list[tuple[Encoded, str, bool]] | DataError]:
    """See ``TrainableModel.draw``; all prompts are asked in one batch, ``count`` times each.

    Placeholders of images are never drawn: a row could not hold them.

    Raises:
        InfimedError: the device has no memory for the batch.
    """
    import torch

    encoded: list[Encoded | DataError] = []
    for sample, cap in prompts:
        try:
            encoder = cast(Encoder, _Prompts(network.encoder))
            encoded.append(_fitting(network, encode_sample(sample, encoder, media, cap), generation))
        except DataError as error:
            encoded.append(error)
    asked = [
        replace(prompt, sample_id=f"{prompt.sample_id}#{number}")
        for prompt in encoded
        if isinstance(prompt, Encoded)
        for number in range(count)
    ]
    try:
        drawn = iter(generate_tokens(network, asked, generation, _placeholders(network))) if asked else iter(())
    except torch.OutOfMemoryError as error:
        raise InfimedError(
            f"out of memory while {len(asked)} answers are drawn at once; lower questions_at_once, or max_new_tokens"
        ) from error
    questions = iter(asked)
    return [
        [_learned(network, next(questions), next(drawn)) for _ in range(count)]
        if isinstance(prompt, Encoded)
        else prompt
        for prompt in encoded
    ]


def _fitting(network: OpenedModel, prompt: Encoded, generation: Generation) -> Encoded:
    room = network.encoder.max_tokens
    if room is not None and len(prompt) + generation.max_new_tokens > room:
        raise DataError(
            "too_long", f"{len(prompt)} prompt tokens and an answer do not fit the model's {room} positions"
        )
    return prompt


def _placeholders(network: OpenedModel) -> list[int]:
    names = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")
    config = network.encoder.config
    return sorted({int(config[name]) for name in names if config.get(name) is not None})


def _learned(network: OpenedModel, prompt: Encoded, tokens: list[int]) -> tuple[Encoded, str, bool]:
    """Prompt and answer as one sample to learn from; positions go on one by one after the prompt's last."""
    after = prompt.positions[:, -1:] + np.arange(1, len(tokens) + 1, dtype=np.int64)
    ids = np.concatenate([prompt.input_ids, np.array(tokens, dtype=np.int64)])
    labels = np.full(len(ids), IGNORED_LABEL, dtype=np.int64)
    labels[len(prompt) - 1 : -1] = tokens
    whole = replace(
        prompt,
        input_ids=ids,
        labels=labels,
        positions=np.concatenate([prompt.positions, after], axis=1),
        token_types=np.concatenate([prompt.token_types, np.zeros(len(tokens), dtype=np.int64)]),
    )
    tokenizer = network.encoder.tokenizer
    ended = tokens[-1] in end_tokens(network.module, tokenizer)
    return whole, str(tokenizer.decode(tokens, skip_special_tokens=True)).strip(), ended
