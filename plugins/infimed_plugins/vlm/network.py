"""A transformers model in memory: trained on packed rows, asked in batches, saved complete."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import JsonValue

from infimed_core import Answer, MediaLoader, PackedBatch, Request, TrainableModel
from infimed_plugins.vlm import attention
from infimed_plugins.vlm.encoding import PREPROCESSING_FILES, ChatEncoder
from infimed_plugins.vlm.families import Family, attention_kind, family_of, group_parameters
from infimed_plugins.vlm.projector import set_grids
from infimed_plugins.vlm.settings import OpeningSettings


class Network(TrainableModel):
    """A checkpoint opened with ``settings``."""

    def __init__(self, module: Any, encoder: ChatEncoder, settings: OpeningSettings) -> None:
        self._module = module
        self._encoder = encoder
        self.settings = settings
        self._weights_digest: tuple[int, str] | None = None
        attention.use_kernel(settings.kernel)
        prepare_module(module, settings.attention)

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
        before = dict(attention.calls)
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
        causal, towers = self._num_layers
        if self.family is None or not self.family.native_resolution or not batch.vision:
            towers = None
        for name, wanted in (("causal", causal), ("bidirectional", towers)):
            ran = attention.calls[name] - before[name]
            if wanted is not None and ran != wanted:
                raise RuntimeError(f"{ran} of {wanted} {name} attention layers received the samples' borders")

    @cached_property
    def _num_layers(self) -> tuple[int, int | None]:
        """Attention layers of the language model and of all else."""
        layers = [
            layer for layer in self._module.modules() if hasattr(layer, "is_causal") and hasattr(layer, "scaling")
        ]
        causal = sum(bool(layer.is_causal) for layer in layers)
        return causal, len(layers) - causal

    def output_embedding(self) -> Any:
        """The language-model head."""
        return self._module.get_output_embeddings()

    def parameter_groups(self) -> dict[str, list[str]]:
        """Parameter names by group."""
        return group_parameters(self._module, self.family)

    def can_pack(self) -> tuple[bool, str]:
        """The verdict of the isolation test on a shrunken copy of this architecture (made once per process)."""
        from infimed_plugins.vlm.isolation import verdict

        result = verdict(self._module.config, self.settings.attention)
        return result.packable, result.explanation

    @property
    def identity(self) -> str:
        """Digest of the weights, the encoder and the settings that decide an answer."""
        digest = hashlib.sha256(self._weights().encode())
        digest.update(self._encoder.identity.encode())
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
        }

    def asking(self) -> dict[str, JsonValue]:
        """Chat template, encoder and cap; conversations bring their system prompt, or have none."""
        return {
            "chat_template": str(self._encoder.tokenizer.chat_template),
            "encoder": self._encoder.identity,
            "answer_max_visual_tokens": self.settings.answer_max_visual_tokens,
        }

    def _group_sizes(self) -> dict[str, JsonValue]:
        sizes = {name: parameter.numel() for name, parameter in self._module.named_parameters()}
        return {group: sum(sizes[name] for name in names) for group, names in self.parameter_groups().items()}

    def save(self, directory: Path) -> None:
        """Write weights, config, tokenizer, chat template and image processor; stock transformers opens it."""
        from infimed_plugins.vlm.quiet import quiet

        directory.mkdir(parents=True, exist_ok=True)
        names = attention_names(self._module)
        try:
            with quiet():
                self._module.save_pretrained(directory, safe_serialization=True)
        finally:
            restore_attention(names)
        self._encoder.tokenizer.save_pretrained(directory)
        for name in (*PREPROCESSING_FILES, "processor_config.json", "video_preprocessor_config.json"):
            source = self._encoder.checkpoint / name
            if source.is_file() and source.resolve() != (directory / name).resolve():
                shutil.copyfile(source, directory / name)


def prepare_module(module: Any, kind: str) -> None:
    """Give a module packed attention (``kind`` "packed", else a name of transformers) and a faster patch embedding."""
    attention.register()
    kind = attention_kind(module.config, kind)
    if kind == "packed":
        family = family_of(module.config)
        for config in _part_configs(module, "language"):
            config._attn_implementation_internal = attention.LANGUAGE_ATTENTION
        for config in _part_configs(module, "vision") if family and family.native_resolution else ():
            config._attn_implementation_internal = attention.VISION_ATTENTION
    else:
        module.set_attn_implementation(kind)
    from infimed_plugins.vlm.patch_embedding import use_linear_patch_embedding
    from infimed_plugins.vlm.projector import use_pooled_projector

    use_linear_patch_embedding(module)
    use_pooled_projector(module)


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


def row_hidden_states(module: Any, batch: PackedBatch, family: Family | None) -> Any:
    """Final hidden states [L, width] of a packed row, on the module's device."""
    import torch

    if not len(batch):  # every sample of the row failed: nothing to compute, yet the row keeps its place
        return module.get_input_embeddings().weight[:0]
    if family is None:
        return _one_by_one(module, batch)
    device = module.get_input_embeddings().weight.device

    def tensor(array: Any) -> Any:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)

    lengths = np.diff(batch.cu_seqlens)
    boundaries = tensor(batch.cu_seqlens.astype(np.int32))
    longest = int(lengths.max())
    inputs: dict[str, Any] = {
        "input_ids": tensor(batch.input_ids)[None],
        "position_ids": tensor(batch.positions)[:, None] if family.rope_rows == 4 else tensor(batch.positions[:1]),
        "attention_mask": None,
        "use_cache": False,
        "cu_seq_lens_q": boundaries,
        "cu_seq_lens_k": boundaries,
        "max_length_q": longest,
        "max_length_k": longest,
    }
    if family.takes_images and batch.vision:
        inputs |= vision_inputs(module, family, batch.vision, batch.token_types[None])
    nothing = None
    if family.takes_images and not batch.vision and module.training and _shares_gradients():
        # Before the language model, as with images: ranks that shard the weights gather them layer by layer, in order.
        nothing = _untouched_tower(module)
    hidden = module.model(**inputs).last_hidden_state[0]
    return hidden if nothing is None else hidden + nothing


def vision_inputs(module: Any, family: Family | None, arrays: Mapping[str, Any], token_types: Any) -> dict[str, Any]:
    """Forward arguments for images: their arrays, and the token types [rows, L] where the family asks for them."""
    import torch

    device = module.get_input_embeddings().weight.device
    inputs = {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in arrays.items()}
    if "image_grid" in inputs:
        set_grids(module, inputs.pop("image_grid"))
    if family is None or family.native_resolution:
        inputs["mm_token_type_ids"] = torch.from_numpy(np.ascontiguousarray(token_types)).to(device)
    return inputs


def _shares_gradients() -> bool:
    """Whether other processes wait for the gradient of every parameter."""
    import torch

    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _untouched_tower(module: Any) -> Any:
    """Zero, computed through the vision tower: a row of text alone must not leave other ranks waiting for it."""
    import torch

    vision, device = module.config.vision_config, module.get_input_embeddings().weight.device
    if hasattr(vision, "spatial_merge_size"):
        merge = vision.spatial_merge_size
        patches = torch.zeros(merge * merge, 3 * vision.temporal_patch_size * vision.patch_size**2, device=device)
        output = module.model.get_image_features(patches, torch.tensor([[1, merge, merge]], device=device))
    else:
        set_grids(module, np.ones((1, 2), dtype=np.int64))
        side = vision.image_size if isinstance(vision.image_size, int) else vision.image_size[0]
        pixels = torch.zeros(1, 3, side, side, device=device)
        output = module.model.get_image_features(pixels, return_dict=True)
    parts = [*output.pooler_output, *(p for level in getattr(output, "deepstack_features", None) or [] for p in level)]
    return sum(part.sum() for part in parts) * 0.0


def _one_by_one(module: Any, batch: PackedBatch) -> Any:
    """A family we do not know: every segment runs alone, so that nothing can leak."""
    import torch

    if batch.vision:
        raise NotImplementedError(f"training '{module.config.model_type}' on images is not supported")
    device = module.get_input_embeddings().weight.device
    parts = []
    for start, stop in zip(batch.cu_seqlens[:-1].tolist(), batch.cu_seqlens[1:].tolist(), strict=True):
        ids = torch.from_numpy(batch.input_ids[start:stop]).to(device)[None]
        parts.append(module.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[0])
    return torch.cat(parts)


def _bytes(tensor: Any) -> Any:
    """The raw bytes of a tensor, whatever its dtype."""
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
