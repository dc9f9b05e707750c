"""Answers to learn from: drawn by the model itself, kept as the tokens that were drawn."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from infimed_core import (
    IGNORED_LABEL,
    DataError,
    Encoded,
    Encoder,
    Generation,
    InfimedError,
    Media,
    MediaLoader,
    Request,
    Sample,
    Turn,
    encode_sample,
)
from infimed_plugins.vlm.answering import end_tokens, generate_tokens
from infimed_plugins.vlm.opened import OpenedModel
from infimed_plugins.vlm.pixels import Tiled
from infimed_plugins.vlm.regions import with_regions

Elsewhere = Callable[..., list[list[list[int]]]]


class _Prompts:
    """The encoder, so that ``encode_sample`` encodes a prompt; it keeps the images of the last one."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self._last: tuple[Sequence[NDArray[np.uint8]], Sequence[tuple[int, ...]], int | None] = ((), (), None)

    def encode(
        self,
        sample: Sample,
        images: Sequence[NDArray[np.uint8]],
        cap: int | None,
        shapes: Sequence[tuple[int, int]] | None = None,
    ) -> Encoded:
        """The encoder's ``encode_prompt``."""
        self._last = images, shapes or [image.shape[:2] for image in images], cap
        encoded: Encoded = self._encoder.encode_prompt(sample, images, cap, shapes)
        return encoded

    def seen(self) -> list[NDArray[np.uint8]]:
        """The images of the last prompt as the model sees them, uint8 [height, width, 3] each."""
        images, sizes, cap = self._last
        pixels = self._encoder.pixels
        tiled = isinstance(pixels, Tiled)  # the others make their fixed size of any
        return [pixels.resized(image, size, cap) if tiled else image for image, size in zip(images, sizes, strict=True)]

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
    elsewhere: Elsewhere | None = None,
) -> list[list[tuple[Encoded, str, bool]] | DataError]:
    """See ``TrainableModel.draw``; all prompts are asked in one batch, ``count`` times each.

    Placeholders of images are never drawn: a row could not hold them.

    Raises:
        InfimedError: the device has no memory for the batch.
    """
    encoded: list[Encoded | DataError] = []
    requests: list[Request] = []
    reader = _Prompts(network.encoder)
    for sample, cap in prompts:
        try:
            prompt = _fitting(network, encode_sample(sample, cast(Encoder, reader), media, cap), generation)
            if elsewhere is not None:
                requests.append(_request(network, sample, reader.seen(), generation))
            encoded.append(prompt)
        except DataError as error:
            encoded.append(error)
    asked = [prompt for prompt in encoded if isinstance(prompt, Encoded)]
    never = _placeholders(network)
    if elsewhere is None:
        groups = iter(_drawn_here(network, asked, count, generation, never) if asked else [])
    else:
        ends = end_tokens(network.module, network.encoder.tokenizer)
        groups = iter(elsewhere(list(zip(asked, requests, strict=True)), count, never, ends) if asked else [])
    return [
        [_learned(network, _numbered(prompt, number), tokens) for number, tokens in enumerate(next(groups))]
        if isinstance(prompt, Encoded)
        else prompt
        for prompt in encoded
    ]


def _numbered(prompt: Encoded, number: int) -> Encoded:
    return replace(prompt, sample_id=f"{prompt.sample_id}#{number}")


def _drawn_here(
    network: OpenedModel, prompts: Sequence[Encoded], count: int, generation: Generation, never: Sequence[int]
) -> list[list[list[int]]]:
    """The tokens of each answer to each prompt, by the model itself."""
    import torch

    asked = [_numbered(prompt, number) for prompt in prompts for number in range(count)]
    try:
        drawn = generate_tokens(network, asked, generation, never)
    except torch.OutOfMemoryError as error:
        raise InfimedError(
            f"out of memory while {len(asked)} answers are drawn at once; lower questions_at_once, or max_new_tokens"
        ) from error
    return [drawn[start : start + count] for start in range(0, len(drawn), count)]


def _request(
    network: OpenedModel, sample: Sample, images: Sequence[NDArray[np.uint8]], generation: Generation
) -> Request:
    """The prompt as a conversation, with its images in the size in which the model sees them and in reading order.

    Raises:
        DataError: it brings tools, which the requests of a server have no place for.
    """
    if sample.tools:
        raise DataError("tools", f"sample '{sample.id}' brings tools, which are not sent elsewhere")
    encoder = network.encoder
    turns = with_regions(encoder.settings.apply(sample.turns), encoder.family.boxes if encoder.family else "")
    order: Iterator[int] = iter(range(len(images)))
    numbered = tuple(_with_numbers(turn, order) for turn in turns)
    media = tuple(Media(data=_png(image)) for image in images)
    return Request(sample_id=sample.id, turns=numbered, media=media, generation=generation, tags=sample.tags)


def _with_numbers(turn: Turn, order: Iterator[int]) -> Turn:
    content = tuple(part if isinstance(part, str) else next(order) for part in turn.content)
    return turn.model_copy(update={"content": content})


def _png(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(image).save(target, format="PNG", compress_level=1)
    return target.getvalue()


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
