"""The `transformers` model: any checkpoint directory or hub id, opened through its own config."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from infimed_core import Component, DataError, InfimedError, LoadedModel, Model
from infimed_plugins.checkpoint_files import AGAIN, check_files, check_size, check_weights, one_line, opening
from infimed_plugins.vlm.finding import base_of, find_checkpoint, is_adapter, missing_reason, named_base
from infimed_plugins.vlm.settings import OpeningSettings

if TYPE_CHECKING:
    from infimed_plugins.vlm.encoding import ChatEncoder


class Transformers(OpeningSettings, Model):
    """A Hugging Face checkpoint: trained, asked and saved in its own layout."""

    checkpoint: str = Field(
        description="Directory of a checkpoint or of a PEFT adapter, or its name on the Hugging Face hub."
    )
    base: str | None = Field(
        default=None, description="The checkpoint beneath an adapter, where the adapter's own files do not tell it."
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit on the hub.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Type of the weights in memory; auto is the checkpoint's own."
    )
    trust_remote_code: bool = Field(
        default=False, description="Run the code that the checkpoint brings. It can do anything."
    )

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """A directory that is not there, or that is no checkpoint."""
        named = {"checkpoint": self.checkpoint, **({"base": self.base} if self.base is not None else {})}
        missing = {setting: reason for setting, name in named.items() if (reason := missing_reason(name))}
        return {**super().problems(run), **missing}

    def checkpoints(self) -> tuple[str, ...]:
        """The one it opens, and beneath an adapter its base."""
        path = Path(os.path.expanduser(self.checkpoint))
        if not is_adapter(path):
            return (self.checkpoint,)
        return self.checkpoint, self.base or named_base(path)

    def base_name(self) -> str | None:
        """As ``base`` says."""
        return self.base

    def prepare(self, directory: Path, texts: Callable[[], Iterable[str]], seed: int) -> Path:
        """Find the checkpoint, downloading it where ``checkpoint`` is no directory."""
        return find_checkpoint(self.checkpoint, self.revision, self.trust_remote_code)

    def load(self, checkpoint: Path | None) -> LoadedModel:
        """Open the base checkpoint or one that training saved."""
        path = checkpoint or find_checkpoint(self.checkpoint, self.revision, self.trust_remote_code)
        return open_checkpoint(path, self, self.trust_remote_code)

    def can_pack(self, checkpoint: Path) -> tuple[bool, str]:
        """The verdict of the isolation test on a shrunken copy of the checkpoint's architecture."""
        return can_pack(base_of(checkpoint, self.base), self.attention, self.trust_remote_code)

    def encoder(self, checkpoint: Path) -> ChatEncoder:
        """The encoder of a checkpoint; refuses a family with images that InfiMed cannot encode."""
        encoder = self.chat_encoder(checkpoint, self.trust_remote_code)
        _ = encoder.pixels  # raises here and not in the middle of the index
        return encoder


def read_config(checkpoint: Path, trust_remote_code: bool = False) -> Any:
    """The configuration of a checkpoint, without its choice of kernels: it may name one on the hub, which is code.

    Raises:
        DataError: it is damaged, or of an architecture that transformers does not know.
    """
    from transformers import AutoConfig

    check_files(checkpoint)
    try:
        config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=trust_remote_code)
        config._attn_implementation = config._experts_implementation = None  # of its parts, too
        return config
    except InfimedError:
        raise
    except Exception as error:  # each class of transformers has rules of its own, and errors of its own
        reason = f"cannot be used: {one_line(error)}; {AGAIN}"
        raise DataError("no_checkpoint", f"{checkpoint / 'config.json'}: {reason}") from error


def can_pack(checkpoint: Path, attention: str, trust_remote_code: bool = False) -> tuple[bool, str]:
    """The verdict of the isolation test on a shrunken copy of a checkpoint's architecture; weights are not loaded."""
    from infimed_plugins.vlm.isolation import verdict

    result = verdict(read_config(checkpoint, trust_remote_code), attention, trust_remote_code)
    return result.packable, result.explanation


def open_checkpoint(checkpoint: Path, settings: OpeningSettings, trust_remote_code: bool = False) -> LoadedModel:
    """Load weights (safetensors only), an adapter on its base, and return the model ready to train or ask."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    from infimed_plugins.vlm.adapter import put_adapter
    from infimed_plugins.vlm.attention import of_parts
    from infimed_plugins.vlm.quantization import quantized
    from infimed_plugins.vlm.transformers_model import TransformersModel
    from infimed_plugins.vlm.without_progress_bars import without_progress_bars

    base = base_of(checkpoint, settings.base_name())
    config = read_config(base, trust_remote_code)
    auto = AutoModelForImageTextToText if getattr(config, "vision_config", None) is not None else AutoModelForCausalLM
    attention = of_parts(config, "sdpa" if settings.attention == "packed" else settings.attention)
    check_size(
        base,
        check_weights(base),
        lambda: auto.from_config(deepcopy(config), attn_implementation=attention, trust_remote_code=trust_remote_code),
    )
    device = settings.device if settings.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    with without_progress_bars(), opening(base):
        module: Any = auto.from_pretrained(
            base,
            config=config,
            dtype=settings.dtype,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            attn_implementation=attention,
            **quantized(settings.quantize, config, device),
        )
        opened = module if settings.quantize else module.to(device)
        if base != checkpoint:
            put_adapter(opened, checkpoint)
    opened.eval()
    return TransformersModel(opened, settings.chat_encoder(checkpoint, trust_remote_code), settings, base)
