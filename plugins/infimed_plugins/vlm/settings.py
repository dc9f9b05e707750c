"""How a checkpoint is opened and asked: the settings that all transformers models share."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from infimed_core import Component, canonical_json, digest_of_checkpoint


class OpeningSettings(Component):
    """Settings shared by ``transformers`` and ``tiny-qwen3-vl``."""

    group_names: ClassVar[tuple[str, ...]] = ("vision", "projector", "language", "embeddings")

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="float32", description="Type of the weights in memory; auto is the checkpoint's own."
    )
    device: str = Field(default="auto", description="cpu, cuda, cuda:1 ...; auto takes a GPU where there is one.")
    attention: Literal["packed", "sdpa", "eager", "flash_attention_2", "flash_attention_4"] = Field(
        default="packed", description="packed keeps the samples of a row apart; any other name forbids packing."
    )
    kernel: Literal["varlen", "flash-attn-2", "flash-attn-4"] = Field(
        default="varlen",
        description="Kernel of packed attention on CUDA: torch's own, or a flash-attn that is installed.",
    )
    answer_max_visual_tokens: int | None = Field(
        default=None, ge=1, description="Most visual tokens of an image when the model is asked; null is native."
    )
    answer_batch_size: int = Field(default=64, ge=1, description="Most questions in a generation batch.")
    answer_batch_tokens: int = Field(
        default=32768, ge=1, description="Most prompt tokens, padding included, in a batch."
    )

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """A device that is not there, or a kernel whose package is not installed."""
        found = {}
        if self.device.startswith("cuda"):
            import torch  # seconds, and only where a GPU is asked for by name

            if not torch.cuda.is_available():
                found["device"] = f"'{self.device}': torch {torch.__version__} sees no CUDA device here; take auto"
        flash = {"attention": self.attention.startswith("flash_"), "kernel": self.kernel.startswith("flash-")}
        for setting, wanted in flash.items():
            if wanted and importlib.util.find_spec("flash_attn") is None:
                package = "flash-attn-4" if "4" in getattr(self, setting) else "flash-attn"
                found[setting] = f"'{getattr(self, setting)}' needs {package}, which is not installed; pip install it"
        return found

    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints that the model is made of: a directory's content is who it is, not its name alone."""
        return ()

    def _with_content(self, fields: dict[str, object]) -> str:
        made = f"{type(self).__module__}.{type(self).__qualname__}{canonical_json(fields)}"
        return "|".join([made, *(digest_of_checkpoint(name) for name in self.checkpoints())])

    def weights_identity(self) -> str:
        """As ``identity``, without what decides only how the model is asked."""
        asking = {"answer_batch_size", "answer_batch_tokens", "answer_max_visual_tokens"}
        return self._with_content(self.model_dump(mode="json", exclude=asking))

    def identity(self) -> str:
        """As for every component, without the batch limits: answers do not depend on them."""
        return self._with_content(self.model_dump(mode="json", exclude={"answer_batch_size", "answer_batch_tokens"}))
