"""The files of a checkpoint beside those that a server of this machine has opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infimed_plugins.checkpoints.parity import Finding

TOKENS = ("pad_token", "eos_token", "bos_token")


def compare_files(here: Path, there: Path, base: Path | None, alone: bool = True) -> list[Finding]:
    """What differs in template, special tokens, image processor and type of numbers.

    Args:
        base: the base of ``here``, where that is an adapter: its files stand in for what the adapter lacks.
        alone: whether the server itself said that it answers from ``there``. A directory that a person names may be
            the base beneath an adapter that is loaded.
    """
    found = []
    if alone and base is not None and there.resolve() == base.resolve():
        remedy = "load it (vllm serve BASE --enable-lora --lora-modules NAME=DIRECTORY) and ask for NAME"
        found.append(Finding("adapter not loaded", f"the server opened the base {there} alone", remedy))
    ours, theirs = _tokenizer(here, base), _tokenizer(there, None)
    if ours is not None and theirs is not None:
        if ours.chat_template != theirs.chat_template:
            seen = "the chat template of the server's checkpoint is another one"
            found.append(Finding("template", seen, f"copy chat_template.jinja of {here} to the server"))
        for name in TOKENS:
            own, other = getattr(ours, name), getattr(theirs, name)
            if own != other:
                seen = f"{name} is {other!r} on the server, {own!r} here"
                remedy = f"serve the tokenizer of {here}; a wrong one cuts answers or pads with a word"
                found.append(Finding(name.replace("_", " "), seen, remedy))
    found += _image_settings(here, there, base)
    types = [_type_of(_json(place / "config.json")) for place in (base or here, there)]
    if None not in types and types[0] != types[1]:
        seen = f"config.json says {types[1]} on the server, {types[0]} here"
        found.append(Finding("dtype", seen, "serve with --dtype as the checkpoint was graded"))
    return found


def _image_settings(here: Path, there: Path, base: Path | None) -> list[Finding]:
    own, other = _processor(here) or (_processor(base) if base else {}), _processor(there)
    if not own or not other:
        return []
    different = sorted(key for key in own.keys() | other.keys() if own.get(key) != other.get(key))
    different = [key for key in different if not key.startswith(("_", "processor_class", "image_processor_type"))]
    sizes = [key for key in different if "size" in key or "pixels" in key or "crop" in key]
    found = []
    for kind, keys in (("image size", sizes), ("image processing", [key for key in different if key not in sizes])):
        if keys:
            seen = ", ".join(f"{key} is {other.get(key)} on the server, {own.get(key)} here" for key in keys)
            found.append(Finding(kind, seen, f"serve the image processor of {here}"))
    return found


def _tokenizer(place: Path, base: Path | None) -> Any:
    from transformers import AutoTokenizer

    home = place if (place / "tokenizer.json").is_file() or base is None else base
    try:
        return AutoTokenizer.from_pretrained(home, trust_remote_code=False)
    except Exception:  # of tokenizers, whatever its kind
        return None


def _processor(place: Path | None) -> dict[str, Any]:
    if place is None:
        return {}
    own = _json(place / "preprocessor_config.json")
    return own or dict(_json(place / "processor_config.json").get("image_processor") or {})


def _type_of(config: dict[str, Any]) -> Any:
    return config.get("dtype") or config.get("torch_dtype")


def _json(file: Path) -> dict[str, Any]:
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
