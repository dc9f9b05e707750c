"""How likely given texts are as the answer to a question, by a checkpoint in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from infimed_core import Answer, DataError, Encoded
from infimed_plugins.vlm.opened import OpenedModel, for_generation


def score_continuations(network: OpenedModel, prompt: Encoded, texts: Sequence[str]) -> Answer:
    """An answer with the log-likelihood of each text after the prompt, one question at a time.

    Tokens are cut as lm-eval cuts them: white space at the end of the prompt belongs to the text that follows.
    """
    import torch

    from infimed_plugins.vlm.rows import vision_inputs

    module, device = network.module, network.device
    context, pieces = split_tokens(network.encoder.tokenizer, prompt.input_ids.tolist(), texts)
    room = network.encoder.max_tokens
    longest = len(context) + max(map(len, pieces))
    if room is not None and longest > room:
        raise DataError("too_long", f"{longest} tokens of prompt and choice do not fit the model's {room} positions")
    # texts that differ in their last token alone (letters) share a row
    rows = list(dict.fromkeys(tuple(piece[:-1]) for piece in pieces))
    width = len(context) + max(map(len, rows))
    ids = np.full((len(rows), width), context[-1], dtype=np.int64)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(context) + len(row)] = [*context, *row]
        mask[place, : len(context) + len(row)] = 1
        types[place, : len(context)] = prompt.token_types[: len(context)]
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    inputs = {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}
    if prompt.vision:
        assert network.family is not None
        arrays = {name: np.concatenate([array] * len(rows)) for name, array in prompt.vision.items()}
        inputs |= vision_inputs(module, network.family, arrays, types)
    with for_generation(module), torch.inference_mode():
        kept = width - len(context) + 1
        logits = module(**inputs, use_cache=False, logits_to_keep=kept).logits[:, -kept:].float()
        shares = logits.log_softmax(-1).cpu()
    found = []
    for piece in pieces:
        number = rows.index(tuple(piece[:-1]))
        found.append(sum(float(shares[number, place, token]) for place, token in enumerate(piece)))
    return Answer(
        sample_id=prompt.sample_id,
        text=texts[max(range(len(texts)), key=found.__getitem__)],
        num_prompt_tokens=len(prompt),
        num_answer_tokens=sum(map(len, pieces)),
        finish_reason="stop",
        log_likelihoods=tuple(found),
    )


def split_tokens(tokenizer: Any, prompt: list[int], texts: Sequence[str]) -> tuple[list[int], list[list[int]]]:
    """The tokens of the prompt without white space at its end, and those of each text behind it."""
    marks = tokenizer.added_tokens_decoder
    start = next((place + 1 for place in range(len(prompt) - 1, -1, -1) if prompt[place] in marks), 0)

    def tokens(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    tail = tokenizer.decode(prompt[start:], clean_up_tokenization_spaces=False)
    bare = tail.rstrip()
    if tokens(tail) != prompt[start:] or not (start or bare):
        return prompt, [tokens(text) for text in texts]
    space, before = tail[len(bare) :], tokens(bare) if bare else []
    if not before and start and not bare:  # the header ends with a mark: nothing but space follows it
        return prompt[:start], [tokens(space + text) for text in texts]
    return [*prompt[:start], *before], [tokens(bare + space + text)[len(before) :] for text in texts]
