"""What InfiMed knows of each model family: which may be packed, and which parameters belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Family:
    """One architecture of transformers, by ``config.model_type``.

    Attributes:
        vision: prefixes of parameter names of the vision tower.
        projector: prefixes of what joins tower and language model; they win over ``vision``.
        rope_rows: rows of positions the language model takes (4 for M-RoPE with the text row, else 1).
        tiled: whether an image is cut into several pictures of one size.
    """

    model_type: str
    vision: tuple[str, ...] = ()
    projector: tuple[str, ...] = ()
    rope_rows: int = 1
    tiled: bool = False

    @property
    def takes_images(self) -> bool:
        """Whether the family has a vision tower."""
        return bool(self.vision)

    @property
    def native_resolution(self) -> bool:
        """Whether the tower takes the patches of all images as one row (else images of one size, as a batch)."""
        return self.takes_images and self.rope_rows == 4


_QWEN_VISION = ("model.visual.",)

FAMILIES = {
    family.model_type: family
    for family in (
        Family("qwen2_vl", _QWEN_VISION, ("model.visual.merger.",), 4),
        Family("qwen2_5_vl", _QWEN_VISION, ("model.visual.merger.",), 4),
        Family("qwen3_vl", _QWEN_VISION, ("model.visual.merger.", "model.visual.deepstack_merger_list."), 4),
        Family("qwen3_vl_moe", _QWEN_VISION, ("model.visual.merger.", "model.visual.deepstack_merger_list."), 4),
        Family("llava", ("model.vision_tower.",), ("model.multi_modal_projector.",)),
        Family("internvl", ("model.vision_tower.",), ("model.multi_modal_projector.",), tiled=True),
        Family("qwen3"),
        Family("qwen2"),
        Family("qwen3_moe"),
        Family("llama"),
    )
}


def family_of(config: Any) -> Family | None:
    """The family of a configuration, or ``None`` where it is not known: then samples may not share a row."""
    if config.model_type == "llava" and config.vision_config.model_type != "siglip_vision_model":
        return None  # towers with a class token or several crops are not known here
    return FAMILIES.get(config.model_type)


def attention_kind(config: Any, wanted: str) -> str:
    """The attention really used: "packed" gives way to "sdpa" where the family is unknown or has windowed layers.

    Transformers' own attention knows windows and masks; ours knows segments alone.
    """
    kinds = set(getattr(config.get_text_config(), "layer_types", None) or ["full_attention"])
    known = family_of(config) is not None and kinds == {"full_attention"}
    return wanted if wanted != "packed" or known else "sdpa"


def group_parameters(module: Any, family: Family | None) -> dict[str, list[str]]:
    """Names of the module's parameters by group; every parameter is in exactly one."""
    groups: dict[str, list[str]] = {"vision": [], "projector": [], "language": [], "embeddings": []}
    vision = family.vision if family else ()
    projector = family.projector if family else ()
    tables = {id(module.get_input_embeddings().weight)}
    if (output := module.get_output_embeddings()) is not None:
        tables |= {id(parameter) for parameter in output.parameters()}
    for name, parameter in module.named_parameters():
        if id(parameter) in tables:
            groups["embeddings"].append(name)
        elif name.startswith(projector):
            groups["projector"].append(name)
        elif name.startswith(vision):
            groups["vision"].append(name)
        else:
            groups["language"].append(name)
    return groups
