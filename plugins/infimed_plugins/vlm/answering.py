"""Batched generation: questions sorted by length, padded on the left, answered as if asked one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from infimed_core import Answer, DataError, Encoded, Generation, Media, MediaLoader, Request
from infimed_plugins.vlm.likelihood import score_continuations
from infimed_plugins.vlm.opened import OpenedModel, for_generation

WINDOW = 1024
"""Most questions that are encoded before the first of them is asked, so that they can be sorted by length."""
WINDOW_BYTES = 512 * 2**20
"""Most bytes of pixels held by them."""


def answer_all(network: OpenedModel, requests: Sequence[Request], media: MediaLoader) -> Iterator[Answer]:
    """Answer every request, as soon as its batch is done; what cannot be asked is an answer with ``error``."""
    limits = network.settings.answer_batch_size, network.settings.answer_batch_tokens
    prompts: list[tuple[Encoded, Generation]] = []
    held = 0
    for number, request in enumerate(requests, start=1):
        try:
            prompt = encode_prompt(network, request, media)
            if request.continuations:
                yield _likelihoods(network, prompt, request)
            else:
                prompts.append((prompt, request.generation))
                held += sum(array.nbytes for array in prompt.vision.values())
        except DataError as error:
            yield Answer(sample_id=request.sample_id, error=f"{error.code}: {error}")
        if len(prompts) == WINDOW or held >= WINDOW_BYTES or number == len(requests):
            for batch in make_batches(prompts, *limits):
                yield from _answer_batch(network, batch)
            prompts, held = [], 0


def _likelihoods(network: OpenedModel, prompt: Encoded, request: Request) -> Answer:
    try:
        return score_continuations(network, prompt, request.continuations)
    except DataError:
        raise
    except Exception as error:
        return Answer(sample_id=request.sample_id, error=f"{type(error).__name__}: {error}")


def encode_prompt(network: OpenedModel, request: Request, media: MediaLoader) -> Encoded:
    """The request as the model takes it; images come no larger than the cap needs."""
    cap = network.settings.answer_max_visual_tokens
    used = [request.media[index] for turn in request.turns for index in _checked(turn.media_indices, request)]
    pairs = [load_image(network, item, media, cap) for item in used]
    images, shapes = [image for image, _ in pairs], [shape for _, shape in pairs]
    prompt = network.encoder.prompt(request.sample_id, request.turns, images, cap, shapes)
    room = network.encoder.max_tokens
    if room is not None and len(prompt) + request.generation.max_new_tokens > room:
        raise DataError(
            "too_long", f"{len(prompt)} prompt tokens do not fit the model's {room} positions; lower the cap"
        )
    return prompt


def _checked(indices: tuple[int, ...], request: Request) -> tuple[int, ...]:
    for index in indices:
        if not 0 <= index < len(request.media):
            raise DataError(
                "missing_media", f"request '{request.sample_id}' names medium {index}, which it does not have"
            )
    return indices


def load_image(network: OpenedModel, item: Media, media: MediaLoader, cap: int | None) -> tuple[Any, tuple[int, int]]:
    """Decode an image, under a cap perhaps to a smaller size; and its (height, width) by its header."""
    pixels = network.encoder.pixels
    if pixels is None or cap is None:
        image = media.load(item)
        return image, (image.shape[0], image.shape[1])
    height, width = media.probe(item)[:2]
    return media.load(item, at_most=pixels.target(height, width, cap)), (height, width)


def make_batches(
    prompts: Sequence[tuple[Encoded, Generation]], most: int, most_tokens: int
) -> list[list[tuple[Encoded, Generation]]]:
    """Batches of one generation setting each, longest questions first, none over ``most_tokens`` with its padding."""
    settings: dict[Generation, list[tuple[Encoded, Generation]]] = {}
    for prompt in prompts:
        settings.setdefault(prompt[1], []).append(prompt)
    batches = []
    for group in settings.values():
        group.sort(key=lambda prompt: -len(prompt[0]))
        start = 0
        while start < len(group):
            count = max(1, min(most, most_tokens // max(1, len(group[start][0]))))
            batches.append(group[start : start + count])
            start += count
    return batches


def _answer_batch(network: OpenedModel, batch: list[tuple[Encoded, Generation]]) -> Iterator[Answer]:
    """Answer a batch; one that runs out of memory is halved, any other failure is each one's error."""
    import torch

    try:
        yield from generate(network, [prompt for prompt, _ in batch], batch[0][1])
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            yield Answer(sample_id=batch[0][0].sample_id, error=f"out_of_memory: {error}")
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            yield from _answer_batch(network, half)
    except Exception as error:
        if len(batch) == 1:
            yield Answer(sample_id=batch[0][0].sample_id, error=f"{type(error).__name__}: {error}")
            return
        for prompt in batch:  # find the one that fails
            yield from _answer_batch(network, [prompt])


def generate(network: OpenedModel, prompts: Sequence[Encoded], generation: Generation) -> list[Answer]:
    """Generate for one batch of prompts, in order."""
    tokenizer = network.encoder.tokenizer
    ends = set(end_tokens(network.module, tokenizer))
    answers = []
    for prompt, tokens in zip(prompts, generate_tokens(network, prompts, generation), strict=True):
        text = tokenizer.decode(tokens, skip_special_tokens=True)
        ended = tokens[-1] in ends or any(stop in text for stop in generation.stop)
        for stop in generation.stop:
            text = text.split(stop, 1)[0]
        answers.append(
            Answer(
                sample_id=prompt.sample_id,
                text=text.strip(),
                num_prompt_tokens=len(prompt),
                num_answer_tokens=len(tokens),
                finish_reason="stop" if ended or len(tokens) < generation.max_new_tokens else "length",
            )
        )
    return answers


def generate_tokens(
    network: OpenedModel, prompts: Sequence[Encoded], generation: Generation, never: Sequence[int] = ()
) -> list[list[int]]:
    """The tokens of each answer, up to the first that ends it; none of ``never`` is among them."""
    import torch

    from infimed_plugins.vlm.rows import vision_inputs

    module, tokenizer = network.module, network.encoder.tokenizer
    device, size = network.device, max(len(prompt) for prompt in prompts)
    filler = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    ids = np.full((len(prompts), size), filler, dtype=np.int64)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, size - len(prompt) :] = prompt.input_ids
        mask[row, size - len(prompt) :] = 1
        types[row, size - len(prompt) :] = prompt.token_types
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    pictured = [prompt.vision for prompt in prompts if prompt.vision]
    inputs = {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}
    if pictured:
        arrays = {name: np.concatenate([vision[name] for vision in pictured]) for name in pictured[0]}
        assert network.family is not None
        inputs |= vision_inputs(module, network.family, arrays, types)
    options: dict[str, Any] = {
        "max_new_tokens": generation.max_new_tokens,
        "do_sample": False,
        "use_cache": True,
        "pad_token_id": filler,
        "eos_token_id": end_tokens(module, tokenizer),
    }
    if never:
        options["suppress_tokens"] = list(never)
    if generation.temperature > 0:
        options["logits_processor"] = [_Sampler(generation, [prompt.sample_id for prompt in prompts])]
    if generation.stop:
        options |= {"stop_strings": list(generation.stop), "tokenizer": tokenizer}
    with for_generation(module), torch.inference_mode():
        output = module.generate(**inputs, **options)
    ends = set(options["eos_token_id"])
    return [
        row[: next((i + 1 for i, token in enumerate(row) if token in ends), len(row))]
        for row in output[:, size:].tolist()
    ]


def end_tokens(module: Any, tokenizer: Any) -> list[int]:
    """Every token that ends an answer: the checkpoint's list and the tokenizer's own."""
    configured = module.generation_config.eos_token_id
    tokens = list(configured) if isinstance(configured, list) else [configured]
    tokens.append(tokenizer.eos_token_id)
    return sorted({int(token) for token in tokens if token is not None})


class _Sampler:
    """Sampling as an argmax: Gumbel noise from a generator of each question's own, so that batches do not matter."""

    def __init__(self, generation: Generation, sample_ids: Sequence[str]) -> None:
        import torch

        self._generation = generation
        self._generators = []
        for sample_id in sample_ids:
            digest = hashlib.sha256(f"{generation.seed}|{sample_id}".encode()).digest()
            self._generators.append(torch.Generator().manual_seed(int.from_bytes(digest[:7], "big")))

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Logits [questions, vocabulary] with tempered noise, so that the greatest is a draw."""
        import torch

        scores = scores.float() / self._generation.temperature
        if self._generation.top_p < 1.0:
            ordered, order = scores.sort(dim=-1, descending=True)
            before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
            ordered = ordered.masked_fill(before >= self._generation.top_p, -torch.inf)
            scores = torch.full_like(scores, -torch.inf).scatter(-1, order, ordered)
        uniform = torch.stack([torch.rand(scores.shape[1], generator=g) for g in self._generators])
        tiny = torch.finfo(torch.float32).tiny
        return scores - (-uniform.clamp_min(tiny).log()).clamp_min(tiny).log().to(scores.device)
