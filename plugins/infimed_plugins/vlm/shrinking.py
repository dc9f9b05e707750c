"""A shrunken copy of an architecture: every kind of layer kept, everything else as small as it goes."""

from __future__ import annotations

import copy
from typing import Any

HEAD_WIDTH = 32
VOCABULARY = 64
PLACEHOLDERS = {"vision_start_token_id": 3, "vision_end_token_id": 4, "image_token_id": 5, "video_token_id": 6}
_GLM5_MARKERS = {"image_start_token_id": 3, "image_end_token_id": 4, "video_start_token_id": 7, "video_end_token_id": 6}
_GEMMA_MARKERS = {"boi_token_id": 3, "eoi_token_id": 4}
_DEFAULT_SECTIONS = {
    "qwen2_vl": [16, 24, 24],
    "qwen2_5_vl": [16, 24, 24],
    "qwen3_vl": [24, 20, 20],
    "qwen3_vl_moe": [24, 20, 20],
    "qwen3_5": [11, 11, 10],
    "qwen3_5_moe": [11, 11, 10],
    "glm4v": [8, 12, 12],
    "glm4v_moe": [8, 12, 12],
    "glm46v": [8, 12, 12],
}
"""What transformers assumes where a configuration states no ``mrope_section``."""


def shrink(config: Any) -> Any:
    """A configuration of the same model type with two layers (or one of each kind) and a width of 128 at most."""
    small = copy.deepcopy(config)
    if getattr(small, "audio_config", None) is not None:
        small.audio_config = None  # no sample is heard
    text = small.get_text_config()
    overrides = _overrides_taken_off(text)
    kinds = list(dict.fromkeys(getattr(text, "layer_types", None) or ["full_attention"]))
    shared = getattr(text, "num_kv_shared_layers", 0) or 0
    kinds = kinds * 2 if len(kinds) == 1 or shared else kinds
    if "shared" in (getattr(text, "indexer_types", None) or ()):  # a layer that sees what the one before it chose
        kinds = [*kinds, kinds[-1]]
    heads = text.num_attention_heads
    grouped = (getattr(text, "num_key_value_heads", None) or heads) < heads
    _set(text, num_hidden_layers=len(kinds), hidden_size=4 * HEAD_WIDTH, intermediate_size=96, num_attention_heads=4)
    _set(text, num_key_value_heads=2 if grouped else 4, head_dim=HEAD_WIDTH, vocab_size=VOCABULARY)
    _set(text, layer_types=kinds, max_window_layers=len(kinds), max_position_embeddings=4096)
    _set(
        text, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=48, mlp_only_layers=[], decoder_sparse_step=1
    )
    _set(text, pad_token_id=None, bos_token_id=None, eos_token_id=None, sliding_window=_small_window(text))
    _set(text, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=16, linear_value_head_dim=16)
    _set(text, shared_expert_intermediate_size=48, n_routed_experts=4)
    _set_gemma4(text, kinds, shared, overrides)
    _set_latent_attention(text)
    _set_glm5(text, kinds)
    rope = getattr(text, "rope_parameters", None)
    if rope and (sections := rope.get("mrope_section", _DEFAULT_SECTIONS.get(config.model_type))):
        pairs = int(HEAD_WIDTH * rope.get("partial_rotary_factor", 1)) // 2
        others = [max(1, section * pairs // sum(sections)) for section in sections[1:]]
        text.rope_parameters = {**rope, "mrope_section": [pairs - sum(others), *others]}
        if config.model_type.startswith("qwen3"):  # as published; transformers assumes it, servers read it
            text.rope_parameters |= {"mrope_interleaved": True}
    _set(small, vocab_size=VOCABULARY, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    _set(small, **PLACEHOLDERS, **_GEMMA_MARKERS, **_GLM5_MARKERS)
    vision = getattr(small, "vision_config", None)
    if vision is not None:
        width = (
            {"embed_dim": 64, "hidden_size": 4 * HEAD_WIDTH} if hasattr(vision, "embed_dim") else {"hidden_size": 64}
        )
        _set(vision, depth=2, num_heads=4, intermediate_size=96, out_hidden_size=4 * HEAD_WIDTH, **width)
        patch = vision.patch_size
        side = [4 * length for length in patch] if isinstance(patch, list | tuple) else 4 * patch
        _set(vision, num_hidden_layers=2, num_attention_heads=4, image_size=side)
        _set(vision, projection_intermediate_size=96)
        _set(vision, mm_embed_dim=64, output_proj_dims=64, mm_posemb_size=64)
        _set(vision, num_key_value_heads=4, head_dim=16, position_embedding_size=64)
        _set(small, image_seq_length=4, mm_tokens_per_image=4)
        _set(small, projector_pool=None)
        _set(vision, num_position_embeddings=64, deepstack_visual_indexes=[0], fullatt_block_indexes=[1], mlp_ratio=2)
    return small


def _overrides_taken_off(text: Any) -> set[str]:
    """What single layers have of their own (Gemma 4's global layers), which is taken off the configuration."""
    if getattr(text, "per_layer_config", None) is None:
        return set()
    layers = text.to_dict().get("per_layer_config") or {}
    text.per_layer_config = None
    return {name for layer in layers.values() for name in layer}


def _set_gemma4(text: Any, kinds: list[str], shared: int, overrides: set[str]) -> None:
    """What only Gemma 4 has: heads of another width in its global layers, embeddings of each layer, shared keys."""
    _set(text, vocab_size_per_layer_input=VOCABULARY, num_kv_shared_layers=len(kinds) // 2 if shared else 0)
    if getattr(text, "enable_moe_block", False):
        text.top_k_experts = 2
    if text.model_type.startswith("gemma4"):
        text.pad_token_id = 0  # its word stands where an image does
    if getattr(text, "hidden_size_per_layer_input", None):
        text.hidden_size_per_layer_input = 16
    own = {"head_dim": 2 * HEAD_WIDTH, "num_key_value_heads": 1}
    if wide := {name: value for name, value in own.items() if name in overrides}:
        text.per_layer_config = {n: dict(wide) for n, kind in enumerate(kinds) if kind == "full_attention"}


def _set_latent_attention(text: Any) -> None:
    """Heads of Mistral Small 4: keys and values from a narrow state, a part of each head turned by the position."""
    if not getattr(text, "kv_lora_rank", None):
        return
    rope = getattr(text, "rope_parameters", None) or {}
    turned = int(HEAD_WIDTH * rope.get("partial_rotary_factor", 0.5)) if text.qk_rope_head_dim else 0
    _set(text, kv_lora_rank=32, q_lora_rank=32 if text.q_lora_rank else None, qk_head_dim=HEAD_WIDTH)
    _set(text, qk_rope_head_dim=turned, qk_nope_head_dim=HEAD_WIDTH - turned, v_head_dim=HEAD_WIDTH)
    _set(text, num_key_value_heads=4, n_group=1, topk_group=1)


def _set_glm5(text: Any, kinds: list[str]) -> None:
    """An index that leaves tokens out although samples are short, with heads enough that no two pools score alike."""
    if not hasattr(text, "index_kpool"):
        return
    _set(text, index_kpool=4, index_topk=8, index_n_heads=32, index_head_dim=16, linear_num_heads=4, linear_head_dim=16)
    _set(text, mlp_layer_types=["dense", *["sparse"] * (len(kinds) - 1)])
    _set(text, indexer_types=["full", "full", *["shared"] * (len(kinds) - 2)])


def _small_window(text: Any) -> int | None:
    return 8 if getattr(text, "sliding_window", None) else None


def _set(config: Any, **values: Any) -> None:
    """Set what the configuration has."""
    for name, value in values.items():
        if hasattr(config, name):
            setattr(config, name, value)
