"""How a checkpoint is opened and asked: the settings that all transformers models share."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from infimed_core import Component, DataError, canonical_json, digest_of_checkpoint, read_named
from infimed_plugins.vlm.chat_settings import ChatSettings, Supervise, mistake_in, replaced_generation

if TYPE_CHECKING:
    from infimed_plugins.vlm.encoding import ChatEncoder


class OpeningSettings(Component):
    """Settings shared by ``transformers`` and ``tiny-qwen3-vl``."""

    packages: ClassVar[Mapping[str, str]] = dict.fromkeys(("torch", "transformers"), "infimed[train]")
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
    quantize: Literal["nf4"] | None = Field(
        default=None,
        description="nf4: hold the language model's matrices in 4 bits (bitsandbytes); adapters alone learn (QLoRA).",
    )
    answer_max_visual_tokens: int | None = Field(
        default=None, ge=1, description="Most visual tokens of an image when the model is asked; null is native."
    )
    answer_batch_size: int = Field(default=64, ge=1, description="Most questions in a generation batch.")
    answer_batch_tokens: int = Field(
        default=32768, ge=1, description="Most prompt tokens, padding included, in a batch."
    )
    supervise: Supervise = Field(
        default="marked",
        description="Which answers of a conversation carry loss: those that the data mark (all where they mark none), "
        "the last alone, or all whatever the data mark.",
    )
    prompt_loss: bool = Field(
        default=False, description="Learn every token of a sample, questions and template too, images never."
    )
    chat_template: str | None = Field(
        default=None,
        description="File with a chat template (Jinja) in place of the checkpoint's; saved with the model.",
    )

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """A device that is not there, or a kernel whose package is not installed."""
        found = {}
        if self.device.startswith("cuda"):
            import torch  # seconds, and only where a GPU is asked for by name

            if not torch.cuda.is_available():
                found["device"] = f"'{self.device}': torch {torch.__version__} sees no CUDA device here; take auto"
        if self.quantize is not None and importlib.util.find_spec("bitsandbytes") is None:
            found["quantize"] = (
                f"'{self.quantize}' needs bitsandbytes, which is not installed: pip install 'infimed[qlora]'"
            )
        flash = {"attention": self.attention.startswith("flash_"), "kernel": self.kernel.startswith("flash-")}
        for setting, wanted in flash.items():
            if wanted and importlib.util.find_spec("flash_attn") is None:
                package = "flash-attn-4" if "4" in getattr(self, setting) else "flash-attn"
                found[setting] = f"'{getattr(self, setting)}' needs {package}, which is not installed; pip install it"
        if self.chat_template is not None and not Path(os.path.expanduser(self.chat_template)).is_file():
            found["chat_template"] = f"{self.chat_template}: no such file; name a file that holds a Jinja template"
        elif self.chat_template is not None and (mistake := mistake_in(Path(os.path.expanduser(self.chat_template)))):
            found["chat_template"] = f"{self.chat_template}{mistake}"
        return found

    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints that the model is made of: a directory's content is who it is, not its name alone."""
        return ()

    def base_name(self) -> str | None:
        """The base of an adapter, where the settings name one."""
        return None

    def chat_settings(self) -> ChatSettings:
        """What decides how conversations are written and what carries loss.

        Raises:
            DataError: the file of the chat template cannot be read.
        """
        return ChatSettings(self.supervise, self.prompt_loss, self._template())

    def _template(self) -> str | None:
        if self.chat_template is None:
            return None
        try:
            return read_named(Path(os.path.expanduser(self.chat_template))).decode().replace("\r\n", "\n")
        except (OSError, ValueError) as error:
            raise DataError("no_template", f"model.chat_template: {self.chat_template}: {error}") from error

    def chat_encoder(self, checkpoint: Path, trust_remote_code: bool = False) -> ChatEncoder:
        """The encoder of a checkpoint under these settings."""
        from infimed_plugins.vlm.encoding import ChatEncoder
        from infimed_plugins.vlm.finding import base_of

        base = base_of(checkpoint, self.base_name())
        return ChatEncoder(checkpoint, trust_remote_code, self.chat_settings(), base)

    def doubts(self) -> tuple[str, ...]:
        """What a checkpoint on disk says of how it is asked, and is not done."""
        told = []
        for name in self.checkpoints():
            if replaced := replaced_generation(Path(os.path.expanduser(name))):
                values = ", ".join(f"{key}: {value}" for key, value in replaced.items())
                told.append(
                    f"{name}/generation_config.json says {values}; answers are drawn as evaluation's 'generation' says "
                    "instead (greedy by default)"
                )
        return tuple(told)

    def _with_content(self, fields: dict[str, object]) -> str:
        fields = {key: value for key, value in fields.items() if key not in _ADDED or value is not None}
        made = f"{type(self).__module__}.{type(self).__qualname__}{canonical_json(fields)}"
        return "|".join([made, *(digest_of_checkpoint(name) for name in self.checkpoints())])

    def weights_identity(self) -> str:
        """As ``identity``, without what decides only how the model is asked, or (by its encoder) what carries loss."""
        asking = {"answer_batch_size", "answer_batch_tokens", "answer_max_visual_tokens"}
        return self._with_content(self.model_dump(mode="json", exclude=asking | _OF_ENCODER))

    def identity(self) -> str:
        """As for every component, without the batch limits and what carries loss: answers do not depend on them."""
        unseen = {"answer_batch_size", "answer_batch_tokens"} | _OF_ENCODER
        made = self._with_content(self.model_dump(mode="json", exclude=unseen))
        template = self._template() if self.chat_template is not None else None
        return made if template is None else f"{made}|{hashlib.sha256(template.encode()).hexdigest()}"


_ADDED = {"quantize", "base"}
"""Settings of a later version: where they are not set, what an earlier one made stands."""
_OF_ENCODER = {"supervise", "prompt_loss", "chat_template"}
