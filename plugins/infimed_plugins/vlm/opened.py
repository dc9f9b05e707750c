"""A model in memory as answering sees it, and the state in which it answers."""

from __future__ import annotations

from typing import Any, Protocol

from infimed_plugins.vlm.attention import LANGUAGE_ATTENTION, language_attention, restore_attention
from infimed_plugins.vlm.encoding import ChatEncoder
from infimed_plugins.vlm.families import Family
from infimed_plugins.vlm.settings import OpeningSettings


class OpenedModel(Protocol):
    """What answering needs of a model in memory."""

    settings: OpeningSettings

    @property
    def module(self) -> Any:
        """The transformers model."""
        ...

    @property
    def encoder(self) -> ChatEncoder:
        """The checkpoint's encoder."""
        ...

    @property
    def family(self) -> Family | None:
        """The family, ``None`` for an unknown one."""
        ...

    @property
    def device(self) -> Any:
        """Where prompts go."""
        ...


class for_generation:  # noqa: N801
    """Within: evaluation mode, an attention that honours the padding mask, no generation settings; after: as before.

    A checkpoint's ``generation_config.json`` (sampling, beams, penalties) must not change what the run file asked for.
    """

    def __init__(self, module: Any) -> None:
        self._module = module

    def __enter__(self) -> None:
        from transformers import GenerationConfig

        self._training, self._generation = self._module.training, self._module.generation_config
        self._module.generation_config = GenerationConfig()
        self._module.eval()
        packed = self._module.config._attn_implementation_internal == LANGUAGE_ATTENTION
        self._names = language_attention(self._module, "sdpa") if packed else []

    def __exit__(self, *error: object) -> None:
        restore_attention(self._names)
        self._module.generation_config = self._generation
        self._module.train(self._training)
        if hasattr(getattr(self._module, "model", None), "rope_deltas"):
            self._module.model.rope_deltas = None  # a leftover would shift the positions of whoever runs next
