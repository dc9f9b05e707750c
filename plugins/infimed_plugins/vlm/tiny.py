"""A tiny but real Qwen3-VL: transformers' architecture, random weights, a vocabulary made from the run's own text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from infimed_core import LoadedModel, Model
from infimed_plugins.vlm.checkpoint import can_pack, open_checkpoint
from infimed_plugins.vlm.settings import OpeningSettings
from infimed_plugins.vlm.vocabulary import train_tokenizer

if TYPE_CHECKING:
    from infimed_plugins.vlm.encoding import ChatEncoder


class TinyQwen3VL(OpeningSettings, Model):
    """Makes a Qwen3-VL small enough to learn on a laptop, deterministic by seed."""

    answer_max_visual_tokens: int | None = Field(
        default=36, ge=1, description="Most visual tokens of an image when the model is asked; null is native."
    )
    hidden_size: int = Field(default=128, ge=16, description="Width of the language model.")
    layers: int = Field(default=4, ge=1, description="Layers of the language model.")
    heads: int = Field(default=4, ge=1, description="Attention heads of the language model.")
    key_value_heads: int = Field(default=2, ge=1, description="Key-value heads of the language model.")
    intermediate_size: int = Field(default=512, ge=16, description="Width of the language model's feed-forward.")
    vision_hidden_size: int = Field(default=128, ge=16, description="Width of the vision tower.")
    vision_layers: int = Field(default=4, ge=1, description="Blocks of the vision tower.")
    vision_heads: int = Field(default=4, ge=1, description="Attention heads of the vision tower.")
    vision_intermediate_size: int = Field(default=512, ge=16, description="Width of the vision tower's feed-forward.")
    patch_size: int = Field(default=16, ge=2, description="Side of a vision patch in pixels.")
    vocab_size: int = Field(
        default=2048, ge=300, description="Most entries of the vocabulary, special tokens included."
    )
    max_positions: int = Field(default=8192, ge=64, description="Longest sample, in tokens.")
    max_pixels: int = Field(default=1_048_576, ge=1024, description="Largest image, in pixels, before any cap.")

    @model_validator(mode="after")
    def _check_heads(self) -> TinyQwen3VL:
        for name, width, heads in (
            ("heads", self.hidden_size, self.heads),
            ("vision_heads", self.vision_hidden_size, self.vision_heads),
        ):
            if width % (heads * 8):
                raise ValueError(f"{name}: the width {width} must be a multiple of 8 times the heads ({heads})")
        if self.heads % self.key_value_heads:
            raise ValueError(f"key_value_heads: must divide heads ({self.heads})")
        return self

    def prepare(self, directory: Path, texts: Callable[[], Iterable[str]], seed: int) -> Path:
        """Train the vocabulary on ``texts``, draw the weights, and write the checkpoint into ``directory``."""
        import torch
        from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

        from infimed_plugins.vlm.without_progress_bars import without_progress_bars

        directory.mkdir(parents=True, exist_ok=True)
        tokenizer = train_tokenizer(texts(), self.vocab_size)
        tokenizer.save_pretrained(directory)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = Qwen3VLForConditionalGeneration(Qwen3VLConfig(**self._config(tokenizer)))
        module.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
        module.generation_config.pad_token_id = tokenizer.pad_token_id
        with without_progress_bars():
            module.save_pretrained(directory, safe_serialization=True)
        (directory / "preprocessor_config.json").write_text(json.dumps(self._preprocessor(), indent=2) + "\n")
        return directory

    def _config(self, tokenizer: Any) -> dict[str, Any]:
        width = self.hidden_size // self.heads
        third = width // 2 // 3
        tokens = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
        tokens |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
        return {
            **{name: tokenizer.convert_tokens_to_ids(token) for name, token in tokens.items()},
            "tie_word_embeddings": True,
            "text_config": {
                "vocab_size": -(-len(tokenizer) // 8) * 8,
                "hidden_size": self.hidden_size,
                "intermediate_size": self.intermediate_size,
                "num_hidden_layers": self.layers,
                "num_attention_heads": self.heads,
                "num_key_value_heads": self.key_value_heads,
                "head_dim": width,
                "max_position_embeddings": self.max_positions,
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 10000.0,
                    "mrope_section": [width // 2 - 2 * third, third, third],
                    "mrope_interleaved": True,
                },
                "tie_word_embeddings": True,
                "bos_token_id": None,
                "eos_token_id": tokenizer.eos_token_id,
                "pad_token_id": tokenizer.pad_token_id,
            },
            "vision_config": {
                "depth": self.vision_layers,
                "hidden_size": self.vision_hidden_size,
                "intermediate_size": self.vision_intermediate_size,
                "num_heads": self.vision_heads,
                "out_hidden_size": self.hidden_size,
                "patch_size": self.patch_size,
                "num_position_embeddings": 256,
                "deepstack_visual_indexes": sorted({self.vision_layers // 4, self.vision_layers // 2})[: self.layers],
            },
        }

    def _preprocessor(self) -> dict[str, Any]:
        tile = self.patch_size * 2
        return {
            "image_processor_type": "Qwen2VLImageProcessor",
            "patch_size": self.patch_size,
            "merge_size": 2,
            "temporal_patch_size": 2,
            "size": {"shortest_edge": tile * tile, "longest_edge": max(self.max_pixels, tile * tile)},
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        }

    def load(self, checkpoint: Path | None) -> LoadedModel:
        """Open the base checkpoint or one that training saved."""
        if checkpoint is None:
            raise ValueError("tiny-qwen3-vl needs a checkpoint directory")
        return open_checkpoint(checkpoint, self)

    def can_pack(self, checkpoint: Path) -> tuple[bool, str]:
        """The verdict of the isolation test on a shrunken copy of the architecture."""
        return can_pack(checkpoint, self.attention)

    def encoder(self, checkpoint: Path) -> ChatEncoder:
        """The encoder of a checkpoint."""
        return self.chat_encoder(checkpoint)
