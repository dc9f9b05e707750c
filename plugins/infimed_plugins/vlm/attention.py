"""Attention within segments: one function for language model and vision tower, without a quadratic mask."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from infimed_core import DataError
from infimed_plugins.vlm.families import attention_kind, family_of
from infimed_plugins.vlm.recurrent import recurrent_layers, use_empty_states

LANGUAGE_ATTENTION = "infimed_packed"
VISION_ATTENTION = "infimed_packed_flash"
"""Vision towers of transformers hand over all images at once only to an attention with "flash" in its name."""

_FLASH = {"flash-attn-2": ("flash_attn", "flash-attn"), "flash-attn-4": ("flash_attn.cute", "flash-attn-4")}
_STATE = "infimed_attention"
_LAYERS = {"causal": "attention", "bidirectional": "attention", "recurrent": "linear attention"}


@dataclass
class AttentionState:
    """What the attention layers of one model share: the kernel they use, and how often each kind has run.

    Attributes:
        kernel: ``varlen`` is torch's own, else a flash-attn.
        calls: packed attention by direction, and layers that carry a state, cut at the borders; the isolation test
            reads it to see that every layer took part.
    """

    kernel: str = "varlen"
    calls: dict[str, int] = field(default_factory=lambda: {"causal": 0, "bidirectional": 0, "recurrent": 0})

    def __post_init__(self) -> None:
        """Raise ``DataError`` where the kernel's package is not installed."""
        if self.kernel == "varlen":
            return
        module, package = _FLASH[self.kernel]
        try:
            importlib.import_module(module)
        except ImportError as error:
            told = f"kernel: {self.kernel} needs {package} ({error}); pip install '{package}', or use kernel: varlen"
            raise DataError("no_kernel", told) from None


def register() -> None:
    """Make both names known to transformers; safe to call again."""
    from transformers import AttentionInterface

    AttentionInterface.register(LANGUAGE_ATTENTION, packed_attention)
    AttentionInterface.register(VISION_ATTENTION, packed_attention)


def packed_attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: Any = None,
    max_length_q: int | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Any, None]:
    """Attend within each segment of one row.

    Args:
        module: the attention layer; its ``is_causal`` counts where the argument is not given.
        query: [1, heads, L, width]; ``key`` and ``value`` may have fewer heads (grouped queries).
        attention_mask: must be ``None``: a mask cannot be honoured here, so it is refused.
        cu_seq_lens_q: int32 [segments + 1], from 0 to L.
        max_length_q: length of the longest segment.

    Returns:
        [1, L, heads, width] and ``None`` (no attention weights).

    Raises:
        RuntimeError: there are no boundaries, or there is a mask: samples would see each other.
    """
    import torch

    if cu_seq_lens_q is None or attention_mask is not None:
        raise RuntimeError("packed attention needs cu_seq_lens_q and takes no attention_mask: samples would mix")
    causal = bool(getattr(module, "is_causal", True)) if is_causal is None else bool(is_causal)
    state = count_call(module, "causal" if causal else "bidirectional")
    grouped = query.shape[1] != key.shape[1]
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and not dropout:
        boundaries = cu_seq_lens_q.to(device=query.device, dtype=torch.int32)
        longest = int(max_length_q) if max_length_q else int((boundaries[1:] - boundaries[:-1]).max())
        query, key, value = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
        return _on_cuda(query, key, value, boundaries, longest, causal, scale, state.kernel).unsqueeze(0), None
    lengths = tuple(np.diff(cu_seq_lens_q.cpu().numpy()).tolist())
    return _segmented(query, key, value, lengths, causal, scale, dropout, grouped), None


def count_call(layer: Any, kind: str) -> AttentionState:
    """Note that a layer was run with the borders of the samples; returns what the layers of its model share."""
    state: AttentionState = getattr(layer, _STATE, None) or AttentionState()
    state.calls[kind] += 1
    return state


def _on_cuda(
    query: Any, key: Any, value: Any, boundaries: Any, longest: int, causal: bool, scale: float, kernel: str
) -> Any:
    """[L, heads, width] each, to [L, heads, width], by the chosen kernel."""
    if kernel != "varlen":
        flash = importlib.import_module(_FLASH[kernel][0]).flash_attn_varlen_func
        places = {"cu_seqlens_q": boundaries, "cu_seqlens_k": boundaries}
        sizes = {"max_seqlen_q": longest, "max_seqlen_k": longest}
        output = flash(query, key, value, **places, **sizes, softmax_scale=scale, causal=causal)
        return output[0] if isinstance(output, tuple) else output
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn(
        query,
        key,
        value,
        boundaries,
        boundaries,
        longest,
        longest,
        scale=scale,
        window_size=(-1, 0) if causal else (-1, -1),
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _segmented(
    query: Any,
    key: Any,
    value: Any,
    lengths: tuple[int, ...],
    causal: bool,
    scale: float,
    dropout: float,
    grouped: bool,
) -> Any:
    import torch

    def attend(query: Any, key: Any, value: Any) -> Any:
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, is_causal=causal, scale=scale, enable_gqa=grouped
        )

    _, heads, total, width = query.shape
    if len(set(lengths)) == 1:  # equal segments are a batch already
        count, length = len(lengths), lengths[0]
        parts = (t[0].unflatten(1, (count, length)).transpose(0, 1) for t in (query, key, value))
        return attend(*parts).transpose(1, 2).reshape(1, total, heads, width)
    # One call a segment: nothing is gathered into batches, and nothing padded.
    segments = zip(*(t.split(lengths, dim=2) for t in (query, key, value)), strict=True)
    return torch.cat([attend(*parts) for parts in segments if parts[0].shape[2]], dim=2).transpose(1, 2)


def prepare_module(module: Any, kind: str, kernel: str = "varlen") -> AttentionState:
    """Give a module packed attention (``kind`` "packed", else a name of transformers) and a faster patch embedding.

    Returns:
        What the attention layers of this module, and no other, share.

    Raises:
        DataError: that attention would let the tokens of an image see only those before them, or the kernel's package
            is not installed.
    """
    state = AttentionState(kernel)
    for layer in (*attention_layers(module), *recurrent_layers(module)):
        setattr(layer, _STATE, state)
    register()
    kind, family = attention_kind(module.config, kind), family_of(module.config)
    if kind.startswith("flash") and family and family.both_ways:
        raise DataError("attention", f"attention: {kind} leaves out the mask of {family.model_type}'s images; use sdpa")
    if kind == "packed":
        for config in _part_configs(module, "language"):
            indexed = "indexed_attention" in (getattr(config, "layer_types", None) or ())  # its index makes a mask
            config._attn_implementation_internal = "sdpa" if indexed else LANGUAGE_ATTENTION
        for config in _part_configs(module, "vision") if family and family.native_resolution else ():
            config._attn_implementation_internal = VISION_ATTENTION
    else:
        module.set_attn_implementation(of_parts(module.config, kind))
    from infimed_plugins.vlm.patch_embedding import use_linear_patch_embedding
    from infimed_plugins.vlm.projector import use_pooled_projector

    use_linear_patch_embedding(module)
    use_pooled_projector(module)
    if family and family.packs:
        use_empty_states(module, count_call)
    return state


def of_parts(config: Any, kind: str) -> str | dict[str, str]:
    """``kind`` as transformers takes it: an audio tower (Gemma 4's), which hears nothing here, keeps its only one."""
    return {"": kind, "audio_config": "eager"} if getattr(config, "audio_config", None) is not None else kind


def attention_state(module: Any) -> AttentionState:
    """What the attention layers of a prepared module share; sharding may have put copies of them in place."""
    # Asked twice in every row: the first layer that has it is enough, and a miss of getattr is slow in torch.
    states = (vars(layer).get(_STATE) for layer in module.modules())
    return next((state for state in states if state is not None), None) or AttentionState()


def attention_layers(module: Any) -> list[Any]:
    """Every attention layer of a transformers model."""
    return [layer for layer in module.modules() if hasattr(layer, "is_causal") and hasattr(layer, "scaling")]


def num_layers(module: Any) -> dict[str, int]:
    """How many layers of each kind must receive the borders of a row."""
    directions = [bool(layer.is_causal) for layer in attention_layers(module)]
    kinds = {"causal": sum(directions), "bidirectional": len(directions) - sum(directions)}
    named = (getattr(module.config.get_text_config(), "layer_types", None) or []).count("linear_attention")
    return kinds | {"recurrent": max(named, len(recurrent_layers(module)))}  # one that is not known is not cut


def check_borders(state: AttentionState, before: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    """Every layer must have been run with the borders of a row since ``before``.

    Raises:
        RuntimeError: a layer was replaced by one that goes its own way; samples may have seen each other.
    """
    for kind, count in wanted.items():
        ran = state.calls[kind] - before[kind]
        if ran != count:
            raise RuntimeError(f"{ran} of {count} {kind} {_LAYERS[kind]} layers received the samples' borders")


def _part_configs(module: Any, part: str) -> list[Any]:
    """The configurations that the attention layers of the vision tower, or of all else, really look at."""
    vision = getattr(module.config, "vision_config", None)
    found = {}
    for layer in module.modules():
        config = getattr(layer, "config", None)
        if config is not None and (vision is not None and config.model_type == vision.model_type) == (part == "vision"):
            found[id(config)] = config
    return list(found.values())


def attention_names(module: Any) -> list[tuple[Any, Any]]:
    """Every configuration with the attention it names now, for ``restore_attention``."""
    configs = {id(c): c for layer in module.modules() if (c := getattr(layer, "config", None)) is not None}
    return [(config, config._attn_implementation_internal) for config in configs.values()]


def restore_attention(names: list[tuple[Any, Any]]) -> None:
    """Undo what happened to attention names since ``attention_names``."""
    for config, name in names:
        config._attn_implementation_internal = name


def language_attention(module: Any, name: str) -> list[tuple[Any, Any]]:
    """Let the language model use another attention (generation needs one with masks); returns what to restore."""
    before = attention_names(module)
    for config in _part_configs(module, "language"):
        config._attn_implementation_internal = name
    return before
