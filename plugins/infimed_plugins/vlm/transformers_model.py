"""A transformers model in memory: trained on packed rows, asked in batches, saved complete."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import JsonValue

from infimed_core import (
    Answer,
    DataError,
    Encoded,
    Generation,
    MediaLoader,
    PackedBatch,
    Request,
    Sample,
    TrainableModel,
)
from infimed_plugins.vlm.adapter import describe_adapter, has_adapter, merge_adapter, save_adapter
from infimed_plugins.vlm.attention import (
    attention_names,
    attention_state,
    check_borders,
    num_layers,
    prepare_module,
    restore_attention,
)
from infimed_plugins.vlm.chat_settings import copy_preprocessing, replaced_generation
from infimed_plugins.vlm.encoding import ChatEncoder
from infimed_plugins.vlm.families import Family, attention_kind, family_of, group_parameters
from infimed_plugins.vlm.finding import PREPROCESSING_FILES
from infimed_plugins.vlm.rows import row_hidden_states
from infimed_plugins.vlm.settings import OpeningSettings


class TransformersModel(TrainableModel):
    """A checkpoint opened with ``settings``."""

    packages: ClassVar[Mapping[str, str]] = {"torch": "infimed[train]", "transformers": "infimed[train]"}

    def __init__(self, module: Any, encoder: ChatEncoder, settings: OpeningSettings, base: Path | None = None) -> None:
        self._module = module
        self._base = base or encoder.checkpoint
        self._encoder = encoder
        self.settings = settings
        self._weights_digest: tuple[int, str] | None = None
        prepare_module(module, settings.attention, settings.kernel)

    @property
    def encoder(self) -> ChatEncoder:
        """The checkpoint's encoder."""
        return self._encoder

    @property
    def module(self) -> Any:
        """The transformers model, its language-model head included."""
        return self._module

    @cached_property
    def family(self) -> Family | None:
        """The family, ``None`` for an unknown one."""
        return family_of(self._module.config)

    @property
    def device(self) -> Any:
        """Where rows go: the device of the embeddings."""
        return self._module.get_input_embeddings().weight.device

    def hidden_states(self, batch: PackedBatch) -> Any:
        """Final hidden states [L, width] of a row, samples apart; needs no mask and makes none."""
        before = dict(attention_state(self._module).calls)
        hidden = row_hidden_states(self._module, batch, self.family)
        self._check_borders(batch, before)
        return hidden

    def _check_borders(self, batch: PackedBatch, before: dict[str, int]) -> None:
        """Every attention layer must have received the borders of this row.

        Raises:
            RuntimeError: a layer was replaced by one that goes its own way; samples may have seen each other.
        """
        if not len(batch) or attention_kind(self._module.config, self.settings.attention) != "packed":
            return
        towers = self.family is not None and self.family.native_resolution and bool(batch.vision)
        wanted = {kind: count for kind, count in self._num_layers.items() if towers or kind != "bidirectional"}
        check_borders(attention_state(self._module), before, wanted)

    @cached_property
    def _num_layers(self) -> dict[str, int]:
        """Layers that must receive the borders, by kind."""
        return num_layers(self._module)

    def output_embedding(self) -> Any:
        """The language-model head."""
        return self._module.get_output_embeddings()

    def parameter_groups(self) -> dict[str, list[str]]:
        """Parameter names by group."""
        return group_parameters(self._module, self.family)

    def can_pack(self) -> tuple[bool, str]:
        """The verdict of the isolation test on a shrunken copy of this architecture (made once per process)."""
        from infimed_plugins.vlm.isolation import verdict

        result = verdict(self._module.config, self.settings.attention, self._encoder.trust_remote_code)
        return result.packable, result.explanation

    @property
    def identity(self) -> str:
        """Digest of the weights, the encoder and the settings that decide an answer."""
        digest = hashlib.sha256(self._weights().encode())
        digest.update(self._encoder.asked_digest.encode())
        answering = self.settings.model_dump(mode="json", include={"dtype", "answer_max_visual_tokens"})
        digest.update(repr(sorted(answering.items())).encode())
        return digest.hexdigest()

    def _weights(self) -> str:
        """Digest of every weight as it is now; made again only when some parameter changed in place."""
        version = sum(parameter._version for parameter in self._module.parameters())
        if self._weights_digest is None or self._weights_digest[0] != version:
            digest = hashlib.sha256()
            for name, tensor in sorted(self._module.state_dict().items()):
                digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
                digest.update(memoryview(_bytes(tensor)))
            self._weights_digest = (version, digest.hexdigest())
        return self._weights_digest[1]

    def answer(self, requests: Sequence[Request], media: MediaLoader) -> Iterator[Answer]:
        """Answers in batches of like length, each as soon as its batch is done."""
        from infimed_plugins.vlm.answering import answer_all

        return answer_all(self, requests, media)

    def draw(
        self, prompts: Sequence[tuple[Sample, int | None]], count: int, generation: Generation, media: MediaLoader
    ) -> list[list[tuple[Encoded, str, bool]] | DataError]:
        """Answers to learn from; see ``TrainableModel.draw``."""
        from infimed_plugins.vlm.drawing import draw

        return draw(self, prompts, count, generation, media)

    def draw_elsewhere(
        self,
        prompts: Sequence[tuple[Sample, int | None]],
        count: int,
        generation: Generation,
        media: MediaLoader,
        ask: Callable[..., list[list[list[int]]]],
    ) -> list[list[tuple[Encoded, str, bool]] | DataError]:
        """As ``draw``, of the tokens that ``ask`` draws.

        Called with a list of (encoded prompt, ``Request`` whose images are as this model sees them), ``count``, tokens
        that are never drawn and tokens that end an answer, it returns the tokens of each answer to each prompt.
        """
        from infimed_plugins.vlm.drawing import draw

        return draw(self, prompts, count, generation, media, ask)

    def describe(self) -> dict[str, JsonValue]:
        """Facts for the run record."""
        parameters = list(self._module.parameters())
        packable, explanation = self.can_pack()
        return {
            "architecture": type(self._module).__name__,
            "model_type": self._module.config.model_type,
            "parameters": sum(parameter.numel() for parameter in parameters),
            "parameter_groups": self._group_sizes(),
            "dtype": str(parameters[0].dtype).removeprefix("torch."),
            "device": str(self.device),
            "attention": attention_kind(self._module.config, self.settings.attention),
            "kernel": self.settings.kernel if self.device.type == "cuda" else "segments through torch's own attention",
            "packable": packable,
            "isolation": explanation,
            **({"adapter": describe_adapter(self._module)} if has_adapter(self._module) else {}),
            **({"quantized": self.settings.quantize} if self.settings.quantize else {}),
        }

    def asking(self) -> dict[str, JsonValue]:
        """Chat template, encoder and cap; conversations bring their system prompt, or have none."""
        return {
            "chat_template": str(self._encoder.tokenizer.chat_template),
            "encoder": self._encoder.asked_digest,
            "generation_config_replaced": replaced_generation(self._encoder.checkpoint),
            "answer_max_visual_tokens": self.settings.answer_max_visual_tokens,
        }

    def _group_sizes(self) -> dict[str, JsonValue]:
        sizes = {name: parameter.numel() for name, parameter in self._module.named_parameters()}
        return {group: sum(sizes[name] for name in names) for group, names in self.parameter_groups().items()}

    def merge(self) -> None:
        """Merge the adapter into the weights beneath, for good; nothing where there is none."""
        if has_adapter(self._module):
            merge_adapter(self._module)

    def save(self, directory: Path) -> None:
        """Write weights, config, tokenizer, chat template and image processor; stock transformers opens it.

        Of a model with adapters beside its weights the adapter alone is written, which stock PEFT opens.
        """
        directory.mkdir(parents=True, exist_ok=True)
        if has_adapter(self._module):
            save_adapter(self._module, directory, self._base)
        else:
            self._save_weights(directory)
        self._encoder.tokenizer.save_pretrained(directory)
        files = (*PREPROCESSING_FILES, "video_preprocessor_config.json")
        own_template = self._encoder.settings.template is not None
        for source in dict.fromkeys((self._encoder.base, self._encoder.checkpoint)):
            copy_preprocessing(source, directory, files, own_template)

    def _save_weights(self, directory: Path) -> None:
        from infimed_plugins.vlm.without_progress_bars import without_progress_bars

        names = attention_names(self._module)
        try:
            with without_progress_bars():
                self._module.save_pretrained(directory, safe_serialization=True)
        finally:
            restore_attention(names)
        self._base = directory.absolute()  # a later adapter belongs to what was written here


def _bytes(tensor: Any) -> Any:
    """The raw bytes of a tensor, whatever its dtype."""
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
