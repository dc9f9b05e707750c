"""A small complete checkpoint of any known family with random weights: for tests, benchmarks and trials."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gemma_vocabulary import GEMMA4_TOKENS, IMAGE_TOKENS, train_gemma_tokenizer

from infimed_plugins.vlm.families import FAMILIES
from infimed_plugins.vlm.image_placeholders import INTERNVL_MARKERS
from infimed_plugins.vlm.shrinking import shrink
from infimed_plugins.vlm.siglip import llava_processor, use_published_names
from infimed_plugins.vlm.vocabulary import train_tokenizer

INTERNVL_PLACE = "<IMG_CONTEXT>"
PIXTRAL_TOKENS = {"image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]"}


def configuration_of(model_type: str) -> Any:
    """The configuration transformers assumes for a family; LLaVA with a SigLIP tower and Qwen3."""
    from transformers import AutoConfig, Gemma3Config, LlavaConfig

    if model_type == "gemma3":
        return Gemma3Config(vision_config={"model_type": "siglip_vision_model", "vision_use_head": False})
    if model_type in ("mistral", "ministral3"):  # published with whole attention; transformers assumes a window
        return AutoConfig.for_model(model_type, sliding_window=None)
    if model_type.startswith("glm4") and FAMILIES[model_type].takes_images:
        rope = {"rope_type": "default", "partial_rotary_factor": 0.5, "mrope_section": [8, 12, 12]}
        return AutoConfig.for_model(model_type, text_config={"rope_parameters": rope | {"rope_theta": 10000.0}})
    if model_type == "gemma4":  # as the larger ones: images both ways, global layers with keys for values
        both = {"use_bidirectional_attention": "vision", "attention_k_eq_v": True, "num_global_key_value_heads": 1}
        return AutoConfig.for_model(
            model_type, text_config={**both, "hidden_size_per_layer_input": 0}, vision_config={}
        )
    if model_type == "gemma4_unified":
        both = {"use_bidirectional_attention": "vision"}
        return AutoConfig.for_model(model_type, text_config=both, vision_config={}, audio_config=None)
    if model_type != "llava":
        return AutoConfig.for_model(model_type)
    siglip = {"model_type": "siglip_vision_model", "vision_use_head": False}
    return LlavaConfig(vision_config=siglip, text_config={"model_type": "qwen3"}, vision_feature_select_strategy="full")


def mistral_small_4() -> Any:
    """Mistral Small 4: the architecture of Mistral 3 around another language model."""
    from transformers import AutoConfig

    return AutoConfig.for_model("mistral3", text_config={"model_type": "mistral4"})


def preprocessor_of(config: Any) -> dict[str, Any] | None:
    """Settings of the image processor that fit a configuration; ``None`` for a model of text alone.

    Mean and standard deviation are stated, as in every published checkpoint: servers fill in others than transformers.
    """
    from transformers.image_utils import (
        IMAGENET_STANDARD_MEAN,
        IMAGENET_STANDARD_STD,
        OPENAI_CLIP_MEAN,
        OPENAI_CLIP_STD,
    )

    vision = getattr(config, "vision_config", None)
    if vision is None:
        return None
    family, patch = FAMILIES[config.model_type], vision.patch_size
    levels: dict[str, Any] = {"image_mean": IMAGENET_STANDARD_MEAN, "image_std": IMAGENET_STANDARD_STD}
    if family.native_resolution or family.tiled:
        levels = {"image_mean": OPENAI_CLIP_MEAN, "image_std": OPENAI_CLIP_STD}
    if family.images == "pixtral":
        tile = patch * config.spatial_merge_size
        return {"image_processor_type": "PixtralImageProcessor", "size": {"longest_edge": 20 * tile}, **levels}
    if family.images == "gemma4":
        kind = "Gemma4ImageProcessor" if config.model_type == "gemma4" else "Gemma4UnifiedImageProcessor"
        return {"image_processor_type": kind, "max_soft_tokens": 70}
    if family.images == "glm5":
        settings = {"image_processor_type": "Glm5NextImageProcessor", "patch_size": patch, "merge_size": 2, **levels}
        return settings | {"temporal_patch_size": 2, "min_image_tokens": 1, "max_image_tokens": 400}
    if family.native_resolution:
        tile = patch * vision.spatial_merge_size
        kind = {"glm4v": "Glm4vImageProcessor", "glm46v": "Glm46VImageProcessor", "glm4v_moe": "Glm4vImageProcessor"}
        settings = {"image_processor_type": kind.get(config.model_type, "Qwen2VLImageProcessor"), "merge_size": 2}
        settings |= {"patch_size": patch, **levels}
        return settings | {"temporal_patch_size": 2, "size": {"shortest_edge": tile**2, "longest_edge": 400 * tile**2}}
    side = vision.image_size if isinstance(vision.image_size, int) else vision.image_size[0]
    kind = {"internvl": "GotOcr2ImageProcessor", "gemma3": "Gemma3ImageProcessor"}.get(config.model_type)
    return {"image_processor_type": kind or "SiglipImageProcessor", "size": {"height": side, "width": side}, **levels}


def write_small_checkpoint(
    model_type: str, directory: Path, texts: Iterable[str], seed: int = 0, weights: bool = True, **vision: Any
) -> Path:
    """Write a checkpoint of the family into ``directory``; ``vision`` sets more of the tower's configuration.

    Without ``weights`` only what an encoder reads is written.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    from infimed_plugins.vlm.without_progress_bars import without_progress_bars

    config = shrink(configuration_of(model_type))
    tokenizer, special = _tokenizer_of(model_type, texts)
    text = config.get_text_config()
    text.vocab_size = len(tokenizer)
    if model_type.startswith("gemma4"):
        if hasattr(text, "vocab_size_per_layer_input"):
            text.vocab_size_per_layer_input = len(tokenizer)
        text.pad_token_id = tokenizer.pad_token_id
        config.video_token_id = config.audio_token_id = len(tokenizer) + 1  # of no sample here
    for name, token in special.items():
        if hasattr(config, name):
            setattr(config, name, tokenizer.convert_tokens_to_ids(token))
    for name, value in vision.items():
        setattr(config.vision_config, name, value)
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(directory)
    if FAMILIES[model_type].tiled:  # what transformers' own processor asks the tokenizer of a published checkpoint for
        file = directory / "tokenizer_config.json"
        names = {"start_image_token": INTERNVL_MARKERS[0], "end_image_token": INTERNVL_MARKERS[1]}
        names |= {"context_image_token": INTERNVL_PLACE, "video_token": "<|video_pad|>"}
        body = json.loads(file.read_text(encoding="utf-8")) | names
        file.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    settings = preprocessor_of(config)
    if settings is not None:
        (directory / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    whole = None
    if model_type == "llava":
        whole = llava_processor(config.vision_config.patch_size, "<|image_pad|>")
    elif FAMILIES[model_type].tiled:
        whole = {"processor_class": "InternVLProcessor", "image_seq_length": config.image_seq_length}
    elif model_type == "gemma3":
        whole = {"processor_class": "Gemma3Processor", "image_seq_length": config.mm_tokens_per_image}
    elif model_type == "mistral3":
        whole = {"processor_class": "PixtralProcessor", "patch_size": config.vision_config.patch_size}
        whole |= {"spatial_merge_size": config.spatial_merge_size, **PIXTRAL_TOKENS}
    if whole:
        (directory / "processor_config.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    if not weights:
        config.save_pretrained(directory)
        return directory
    auto = AutoModelForImageTextToText if settings is not None else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]), without_progress_bars():
        torch.manual_seed(seed)
        module = auto.from_config(config, dtype=torch.float32)
        if model_type == "gemma3":  # which transformers starts from zero: no image would be seen
            torch.nn.init.normal_(module.model.multi_modal_projector.mm_input_projection_weight, std=0.02)
        ends = [token for token in (tokenizer.eos_token, "<end_of_turn>", "<turn|>") if token in tokenizer.get_vocab()]
        module.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(ends)
        module.generation_config.pad_token_id = tokenizer.pad_token_id
        module.save_pretrained(directory, safe_serialization=True)
    if model_type in ("llava", "gemma3"):
        use_published_names(directory)
    return directory


def _tokenizer_of(model_type: str, texts: Iterable[str]) -> tuple[Any, dict[str, str]]:
    """A tokenizer in the family's format, and the tokens that its configuration names."""
    if model_type == "gemma3":
        return train_gemma_tokenizer(texts, 512), {
            "boi_token_index": IMAGE_TOKENS["boi_token"],
            "eoi_token_index": IMAGE_TOKENS["eoi_token"],
            "image_token_index": IMAGE_TOKENS["image_token"],
        }
    if model_type.startswith("gemma4"):
        tokens = {"boi_token_id": "boi_token", "eoi_token_id": "eoi_token", "image_token_id": "image_token"}
        return train_gemma_tokenizer(texts, 512, True), {name: GEMMA4_TOKENS[own] for name, own in tokens.items()}
    tokenizer, place = train_tokenizer(texts, 512), "<|image_pad|>"
    if model_type == "mistral3":
        place = PIXTRAL_TOKENS["image_token"]
        tokenizer.add_special_tokens(
            {"additional_special_tokens": list(PIXTRAL_TOKENS.values())}, replace_extra_special_tokens=False
        )
        tokenizer.chat_template = tokenizer.chat_template.replace("<|vision_start|><|image_pad|><|vision_end|>", place)
    if FAMILIES[model_type].tiled:
        place = INTERNVL_PLACE
        tokenizer.add_special_tokens(
            {"additional_special_tokens": [*INTERNVL_MARKERS, place]}, replace_extra_special_tokens=False
        )
        tokenizer.chat_template = tokenizer.chat_template.replace("<|vision_start|><|image_pad|><|vision_end|>", place)
    if model_type.startswith("glm") and FAMILIES[model_type].takes_images:  # no sample holds a video
        tokenizer.add_special_tokens(
            {"additional_special_tokens": ["<|begin_of_video|>", "<|end_of_video|>"]},
            replace_extra_special_tokens=False,
        )
    special = {"video_start_token_id": "<|begin_of_video|>", "video_end_token_id": "<|end_of_video|>"}
    special |= {"image_start_token_id": "<|vision_start|>", "image_end_token_id": "<|vision_end|>"}
    special |= {"video_token_id": "<|video_pad|>", "vision_start_token_id": "<|vision_start|>"}
    special |= {"vision_end_token_id": "<|vision_end|>", "image_token_id": place, "image_token_index": place}
    return tokenizer, special
