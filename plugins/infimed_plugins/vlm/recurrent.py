"""Layers that carry a state from token to token, or choose the tokens they see, run for each sample of a row alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

RECURRENT = ("GatedDeltaNet", "Glm5NextTextLinearAttention")
"""How the layers of linear attention end that a row may be cut for (Qwen3.5's, GLM-5-V's)."""
INDEXED = ("Glm5NextTextAttention",)
"""The same of layers whose index chooses which tokens are seen (GLM-5-V's): pools of tokens begin at a first token."""
CHUNK = 64
"""Tokens that such a layer computes at once: segments of equally many chunks are one batch, padded by less than one."""
_OF_THE_ROW = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "attention_mask", "position_ids")


def recurrent_layers(module: Any) -> list[Any]:
    """Every layer of linear attention of a transformers model."""
    return [layer for layer in module.modules() if type(layer).__name__.endswith(RECURRENT)]


def use_empty_states(module: Any, count: Callable[[Any, str], Any]) -> None:
    """Let these layers begin anew at every border of a packed row; weights, names and single samples stay.

    ``count`` is told of every layer that was given the borders.
    """
    for layer in module.modules():
        original: Any = type(layer)
        if original.__name__.endswith(RECURRENT):
            layer.__class__ = _cut_class(original, count)
        elif original.__name__.endswith(INDEXED):
            layer.__class__ = _cut_indexed_class(original, count)


def _batches(hidden_states: Any, borders: Any) -> Iterator[tuple[int, list[int], list[int], Any]]:
    """Segments of equally many chunks as rows of a batch: chunks, numbers, lengths, states [members, longest, width].

    What fills a row up comes after all that is real.
    """
    from torch.nn.utils.rnn import pad_sequence

    lengths = (borders[1:] - borders[:-1]).tolist()
    segments = hidden_states[0].split(lengths)
    sizes = [-(-length // CHUNK) for length in lengths]
    for size in dict.fromkeys(sizes):
        members = [number for number, other in enumerate(sizes) if other == size]
        batch = pad_sequence([segments[number] for number in members], batch_first=True)
        yield size, members, [lengths[number] for number in members], batch


@lru_cache(maxsize=8)
def _cut_class(original: Any, count: Callable[[Any, str], Any]) -> type:
    import torch

    class CutGatedDeltaNet(original):  # type: ignore[misc, valid-type]
        """``original`` over segments, each a row of a batch: what fills it up comes after all that is real."""

        def forward(self, hidden_states: Any, *arguments: Any, **named: Any) -> Any:
            """Hidden states [1, L, width] with ``cu_seq_lens_q``; without borders as ``original``."""
            borders = named.get("cu_seq_lens_q")
            if borders is None:
                return super().forward(hidden_states, *arguments, **named)
            count(self, "recurrent")
            named = {name: value for name, value in named.items() if name not in _OF_THE_ROW}
            outputs: dict[int, Any] = {}
            for _, members, lengths, batch in _batches(hidden_states, borders):
                found = super().forward(batch, *arguments, **named)
                outputs |= {n: one[:length] for n, length, one in zip(members, lengths, found, strict=True)}
            return torch.cat([outputs[number] for number in range(len(outputs))])[None]

    return CutGatedDeltaNet


@lru_cache(maxsize=8)
def _cut_indexed_class(original: Any, count: Callable[[Any, str], Any]) -> type:
    import torch

    class CutIndexedAttention(original):  # type: ignore[misc, valid-type]
        """``original`` over segments; what one layer chose for another is handed on batch by batch."""

        def forward(self, hidden_states: Any, attention_mask: Any, **named: Any) -> Any:
            """Hidden states [1, L, width] with ``cu_seq_lens_q``; without borders as ``original``."""
            borders = named.get("cu_seq_lens_q")
            if borders is None:
                return super().forward(hidden_states, attention_mask, **named)
            count(self, "causal")
            chosen = named.pop("prev_topk_indices", None) or {}
            named = {name: value for name, value in named.items() if name not in _OF_THE_ROW}
            outputs: dict[int, Any] = {}
            handed: dict[int, Any] = {}
            for size, members, lengths, batch in _batches(hidden_states, borders):
                places = torch.arange(batch.shape[1], device=batch.device)
                real = places < torch.tensor(lengths, device=batch.device)[:, None]
                found, _, handed[size] = super().forward(batch, real, prev_topk_indices=chosen.get(size), **named)
                outputs |= {n: one[:length] for n, length, one in zip(members, lengths, found, strict=True)}
            whole = torch.cat([outputs[number] for number in range(len(outputs))])[None]
            return whole, None, None if None in handed.values() else handed

    return CutIndexedAttention
