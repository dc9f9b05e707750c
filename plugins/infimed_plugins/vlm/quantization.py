"""Matrices held in 4 bits by bitsandbytes, beneath adapters that learn (QLoRA)."""

from __future__ import annotations

from typing import Any

from infimed_core import DataError
from infimed_plugins.vlm.families import family_of


def quantized(kind: str | None, config: Any, device: str) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` that quantize the language model's matrices; none where ``kind`` is ``None``.

    The vision tower, the projector and the output matrix stay whole: they are small beside the language model, and
    what is lost in them is lost for every answer. NF4 with double quantization is QLoRA's (arXiv 2305.14314).

    Raises:
        DataError: bitsandbytes is not installed, or has no kernels for this machine.
    """
    if kind is None:
        return {}
    try:
        import bitsandbytes  # noqa: F401
    except Exception as error:  # a broken build fails in many ways when it is imported
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        text = f"quantize: {kind} cannot run here ({reason}); pip install 'infimed[qlora]', or leave quantize out"
        raise DataError("not_installed", text) from error
    import torch
    from transformers import BitsAndBytesConfig

    family = family_of(config)
    whole = [prefix.rstrip(".") for prefix in (*family.vision, *family.projector)] if family else []
    on_gpu = device.startswith("cuda") and torch.cuda.is_bf16_supported()
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if on_gpu else torch.float32,
        llm_int8_skip_modules=["lm_head", *whole],
    )
    return {"quantization_config": settings, "device_map": {"": device}}
