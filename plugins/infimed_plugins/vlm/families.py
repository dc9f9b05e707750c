"""What InfiMed knows of each model family: which may be packed, and which parameters belong together."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from infimed_core import InfimedError, load_plugins

PROCESSORS = ("qwen", "glm", "glm5", "siglip", "internvl", "pixtral", "gemma4")
"""The ways of preparing images that InfiMed knows."""


@dataclass(frozen=True)
class Family:
    """One architecture of transformers, by ``config.model_type``.

    Attributes:
        vision: prefixes of parameter names of the vision tower.
        projector: prefixes of what joins tower and language model; they win over ``vision``.
        rope_rows: rows of positions the language model takes (4 for M-RoPE with the text row, else 1).
        processor: whose images it takes: "qwen" where ``rope_rows`` is 4 and "siglip" elsewhere, unless it is stated:
            "glm", "glm5" and "pixtral" (native resolution), "gemma4" (the same, pooled), "internvl" (cut into tiles).
        towers: where a family leaves the vision tower open, those whose images InfiMed prepares, by ``model_type``.
        leak: why samples cannot share a row; "" where they may. Then every sample is run apart from the others.
        both_ways: whether the tokens of an image see each other in both directions.
        boxes: how it writes boxes (a name in ``regions.py``); "" where it has no form of its own that a plan can count.
    """

    model_type: str
    vision: tuple[str, ...] = ()
    projector: tuple[str, ...] = ()
    rope_rows: int = 1
    processor: str = ""
    towers: tuple[str, ...] = ()
    leak: str = ""
    both_ways: bool = False
    boxes: str = ""

    @property
    def packs(self) -> bool:
        """Whether samples may share a row, if the isolation test agrees."""
        return not self.leak

    @property
    def takes_images(self) -> bool:
        """Whether the family has a vision tower."""
        return bool(self.vision)

    @property
    def images(self) -> str:
        """Whose images it takes; "" for a model of text alone."""
        if not self.takes_images:
            return ""
        return self.processor or ("qwen" if self.rope_rows == 4 else "siglip")

    @property
    def tiled(self) -> bool:
        """Whether an image is cut into several pictures of one size."""
        return self.images == "internvl"

    @property
    def native_resolution(self) -> bool:
        """Whether the tower takes the patches of all images as one row (else each image is a row of a batch)."""
        return self.images in ("qwen", "glm", "glm5", "pixtral")

    @property
    def types_argument(self) -> str:
        """The name under which the model's forward takes the token types; "" where it takes none."""
        if self.rope_rows == 4 or self.images == "gemma4":
            return "mm_token_type_ids"
        return "token_type_ids" if self.both_ways else ""


_QWEN_VISION = ("model.visual.",)
_QWEN_MERGER = ("model.visual.merger.",)
_GLM_MERGER = (*_QWEN_MERGER, "model.visual.downsample.")
_TOWER, _PROJECTOR = ("model.vision_tower.",), ("model.multi_modal_projector.",)
_GEMMA4_TOWERS = (*_TOWER, "model.audio_tower.")
_GEMMA4_PROJECTORS = ("model.embed_vision.", "model.embed_audio.")
_GEMMA4_JOINED = ("model.embed_vision.multimodal_embedder.",)
_SIGLIP = ("siglip_vision_model",)
_UNSTATED_TOWER = {"gemma3": "siglip_vision_model"}
"""The tower that transformers assumes where a configuration does not name its."""

_WINDOWED = "layers see a sliding window, and the tokens of an image each other both ways: packed attention has neither"

FAMILIES = {
    family.model_type: family
    for family in (
        Family("qwen2_vl", _QWEN_VISION, _QWEN_MERGER, 4, boxes="marked"),
        Family("qwen2_5_vl", _QWEN_VISION, _QWEN_MERGER, 4),
        Family("qwen3_vl", _QWEN_VISION, (*_QWEN_MERGER, "model.visual.deepstack_merger_list."), 4, boxes="listed"),
        Family("qwen3_vl_moe", _QWEN_VISION, (*_QWEN_MERGER, "model.visual.deepstack_merger_list."), 4, boxes="listed"),
        Family("qwen3_5", _QWEN_VISION, _QWEN_MERGER, 4, boxes="listed"),
        Family("qwen3_5_moe", _QWEN_VISION, _QWEN_MERGER, 4, boxes="listed"),
        Family("llava", _TOWER, _PROJECTOR, towers=_SIGLIP),
        Family("gemma3", _TOWER, _PROJECTOR, towers=_SIGLIP, leak=_WINDOWED, both_ways=True),
        Family("internvl", _TOWER, _PROJECTOR, processor="internvl", boxes="tagged"),
        Family("glm4v", _QWEN_VISION, _GLM_MERGER, 4, processor="glm"),
        Family("glm4v_moe", _QWEN_VISION, _GLM_MERGER, 4, processor="glm"),
        Family("glm46v", _QWEN_VISION, _GLM_MERGER, 4, processor="glm"),
        Family("glm5_next", _QWEN_VISION, _GLM_MERGER, processor="glm5"),
        Family("mistral3", _TOWER, _PROJECTOR, processor="pixtral", towers=("pixtral",)),
        Family("gemma4", _GEMMA4_TOWERS, _GEMMA4_PROJECTORS, processor="gemma4", leak=_WINDOWED, both_ways=True),
        Family(
            "gemma4_unified", _GEMMA4_PROJECTORS, _GEMMA4_JOINED, processor="gemma4", leak=_WINDOWED, both_ways=True
        ),
        Family("qwen3"),
        Family("qwen2"),
        Family("qwen3_moe"),
        Family("llama"),
        Family("mistral"),
        Family("ministral3"),
        Family("glm4"),
        Family("glm4_moe"),
    )
}


@cache
def _of_plugins() -> dict[str, Family]:
    """The families of outside plugins.

    Raises:
        InfimedError: a plugin says something of a family that no family has.
    """
    families = {}
    for model_type, facts in load_plugins().table("infimed_model_families").items():
        try:
            families[model_type] = _checked(model_type, facts)
        except (TypeError, AttributeError, ValueError) as error:
            told = (
                [f"{one['loc'][0]}: {one['msg']}" for one in error.errors()]
                if isinstance(error, ValidationError)
                else [str(error)]
            )
            known = ", ".join(field.name for field in fields(Family) if field.name != "model_type")
            message = f"infimed_model_families offers '{model_type}', which cannot be used: {'; '.join(told)}; "
            raise InfimedError(message + f"it may say {known}") from None
    return families


def _checked(model_type: str, facts: dict[str, Any]) -> Family:
    """A family as a plugin describes it; lists may stand for tuples, other types are errors."""
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
    family = TypeAdapter(Family).validate_python(vars(Family(model_type, **given)))
    if family.images not in ("", *PROCESSORS):
        raise ValueError(f"processor '{family.processor}' is none of {', '.join(PROCESSORS)}")
    return family


def family_of(config: Any) -> Family | None:
    """The family of a configuration, or ``None`` where it is not known: then samples may not share a row."""
    tower = getattr(config, "vision_config", None)
    return family_named(config.model_type, tower.model_type if tower is not None else None)


def family_named(model_type: str, tower: str | None) -> Family | None:
    """The same by the ``model_type`` of the whole and of its vision tower."""
    family = FAMILIES.get(model_type) or _of_plugins().get(model_type)
    tower = tower or _UNSTATED_TOWER.get(model_type)
    if family is not None and family.towers and tower not in family.towers:
        return None  # towers with a class token or several crops are not known here
    return family


def attention_kind(config: Any, wanted: str) -> str:
    """The attention really used: "packed" gives way to "sdpa" where the family is unknown or its layers leak.

    Transformers' own attention knows windows and masks; ours knows segments alone.
    """
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    if not getattr(text, "layer_types", None) and getattr(text, "sliding_window", None):
        kinds = {"sliding_attention"}
    family = family_of(config)
    # Layers of linear and of indexed attention are cut at the borders themselves (recurrent.py).
    own = {"full_attention", "linear_attention", "indexed_attention"}
    known = family is not None and family.packs and kinds <= own
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
