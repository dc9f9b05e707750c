"""A LLaVA-type model from parts: a SigLIP vision tower, a pooled projector and a language model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from infimed_core import Component, DataError, LoadedModel, Model, Row
from infimed_plugins.checkpoint_files import check_size, check_weights, opening
from infimed_plugins.vlm.checkpoint import can_pack, open_checkpoint, read_config
from infimed_plugins.vlm.finding import find_checkpoint, missing_reason
from infimed_plugins.vlm.settings import OpeningSettings
from infimed_plugins.vlm.siglip import llava_processor, use_published_names
from infimed_plugins.vlm.vocabulary import CHAT_TEMPLATE

if TYPE_CHECKING:
    from infimed_plugins.vlm.encoding import ChatEncoder

VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>")


class Projector(Row):
    """What joins the tower and the language model."""

    pool: tuple[int, int] | None = Field(
        default=(12, 12),
        description="Visual tokens down and across, by adaptive average pooling; null keeps every patch.",
    )
    layer: int = Field(default=-2, description="Layer of the tower whose features are taken, from its end.")


class Assemble(OpeningSettings, Model):
    """Builds the model once; the checkpoint is LLaVA's layout and reloads with its pooling."""

    vision: str = Field(description="Checkpoint of a SigLIP or fixed-size SigLIP2 model: directory or hub name.")
    language: str = Field(description="Checkpoint of a causal language model: directory or hub name.")
    projector: Projector = Projector()

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """A part whose directory is not there, or that is no checkpoint."""
        told = {"vision": missing_reason(self.vision), "language": missing_reason(self.language)}
        return {**super().problems(run), **{part: missing for part, missing in told.items() if missing}}

    def checkpoints(self) -> tuple[str, ...]:
        """Its two parts."""
        return self.vision, self.language

    def prepare(self, directory: Path, texts: Callable[[], Iterable[str]], seed: int) -> Path:
        """Copy both parts' weights, draw the projector's, and write the checkpoint into ``directory``."""
        import torch
        from transformers import (
            AutoModelForCausalLM,
            AutoTokenizer,
            LlavaForConditionalGeneration,
            SiglipVisionModel,
        )

        from infimed_plugins.vlm.without_progress_bars import without_progress_bars

        vision_path, language_path = find_checkpoint(self.vision, None), find_checkpoint(self.language, None)
        config = read_config(vision_path)
        if config.model_type not in ("siglip", "siglip_vision_model"):
            raise DataError("vision_part", f"{self.vision}: '{config.model_type}' is no SigLIP model of one image size")
        language_config = read_config(language_path)
        with opening(language_path):
            tokenizer = AutoTokenizer.from_pretrained(language_path, trust_remote_code=False)
        tokenizer.add_special_tokens(
            {"additional_special_tokens": list(VISION_TOKENS)}, replace_extra_special_tokens=False
        )
        tokenizer.chat_template = CHAT_TEMPLATE
        vision_config: Any = getattr(config, "vision_config", config)
        check_size(vision_path, check_weights(vision_path), lambda: SiglipVisionModel(deepcopy(vision_config)))
        check_size(
            language_path,
            check_weights(language_path),
            lambda: AutoModelForCausalLM.from_config(
                deepcopy(language_config), attn_implementation="sdpa", trust_remote_code=False
            ),
        )
        with without_progress_bars(), opening(vision_path):
            vision = SiglipVisionModel.from_pretrained(
                vision_path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False,
                config=vision_config, attn_implementation="sdpa",
            )  # fmt: skip
        with without_progress_bars(), opening(language_path):
            language = AutoModelForCausalLM.from_pretrained(
                language_path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False,
                config=language_config, attn_implementation="sdpa",
            )  # fmt: skip
        words: Any = language.get_input_embeddings().weight
        if len(tokenizer) > words.shape[0]:
            language.resize_token_embeddings(len(tokenizer))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = LlavaForConditionalGeneration(self._config(vision.config, language.config, tokenizer))
        unused = module.model.vision_tower.load_state_dict(vision.state_dict(), strict=False)
        if unused.missing_keys:
            raise DataError("vision_part", f"{self.vision}: lacks {', '.join(unused.missing_keys[:3])} ...")
        module.model.language_model.load_state_dict(language.model.state_dict())
        module.lm_head.load_state_dict(language.lm_head.state_dict())
        module.generation_config = language.generation_config
        with without_progress_bars():
            module.save_pretrained(directory, safe_serialization=True)
        use_published_names(directory)
        tokenizer.save_pretrained(directory)
        settings = vision_path / "preprocessor_config.json"
        processor = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
        side = vision.config.image_size
        processor |= {"image_processor_type": "SiglipImageProcessor", "size": {"height": side, "width": side}}
        files = {"preprocessor_config.json": processor}
        if self.projector.pool is None:  # transformers' own processor and servers count a token for every patch
            patch: Any = vision.config.patch_size
            files["processor_config.json"] = llava_processor(patch, VISION_TOKENS[-1])
        for name, body in files.items():
            (directory / name).write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
        return directory

    def _config(self, vision: Any, language: Any, tokenizer: Any) -> Any:
        from transformers import LlavaConfig

        vision.vision_use_head = False  # the pooled vector has no part in this model
        pool = self.projector.pool
        return LlavaConfig(
            vision_config=vision.to_dict(),
            text_config=language.to_dict(),
            image_token_index=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
            image_seq_length=pool[0] * pool[1] if pool else (vision.image_size // vision.patch_size) ** 2,
            vision_feature_select_strategy="full",
            vision_feature_layer=self.projector.layer,
            tie_word_embeddings=language.tie_word_embeddings,
            projector_pool=list(pool) if pool else None,  # type: ignore[call-arg]
        )

    def load(self, checkpoint: Path | None) -> LoadedModel:
        """Open the assembled checkpoint or one that training saved."""
        if checkpoint is None:
            raise ValueError("assemble needs a checkpoint directory")
        return open_checkpoint(checkpoint, self)

    def can_pack(self, checkpoint: Path) -> tuple[bool, str]:
        """The verdict of the isolation test on a shrunken copy of the architecture."""
        return can_pack(checkpoint, self.attention)

    def encoder(self, checkpoint: Path) -> ChatEncoder:
        """The encoder of a checkpoint."""
        return self.chat_encoder(checkpoint)
