"""Where a checkpoint is: a directory, or a name on the hub; and the base that an adapter belongs to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from infimed_core import DataError, digest_of_checkpoint

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE_NOTE = "infimed-base.json"
"""Beside an adapter: where its base lay, seen from the adapter's directory, and the digest of its content."""

PREPROCESSING_FILES = (
    "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "chat_template.json", "preprocessor_config.json",
    "processor_config.json",
)  # fmt: skip


def is_adapter(directory: Path) -> bool:
    """Whether a directory holds a PEFT adapter and no whole model."""
    return (directory / ADAPTER_CONFIG).is_file() and not (directory / "config.json").is_file()


def missing_reason(checkpoint: str) -> str:
    """Why a checkpoint cannot be used, as far as the disk tells without asking a hub; "" where nothing is known."""
    path = Path(os.path.expanduser(checkpoint))  # leaves "~nobody" as it is
    if path.is_dir():
        if is_adapter(path) or (path / "config.json").is_file():
            return ""
        return f"{path}: holds no config.json (nor {ADAPTER_CONFIG}), so it is no checkpoint"
    local = checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") > 1
    return f"{checkpoint}: no such directory; a checkpoint on the hub is named OWNER/NAME" if local else ""


def find_checkpoint(checkpoint: str, revision: str | None, with_code: bool = False) -> Path:
    """The local directory of a checkpoint; its code is fetched only ``with_code``.

    Raises:
        DataError: it is neither a directory with a ``config.json`` nor on the hub.
    """
    if missing := missing_reason(checkpoint):
        raise DataError("no_checkpoint", missing)
    path = Path(os.path.expanduser(checkpoint))
    if path.is_dir():
        return path.resolve()
    from huggingface_hub import snapshot_download

    try:
        patterns = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", *PREPROCESSING_FILES]
        patterns += ["*.py"] if with_code else []
        return Path(snapshot_download(checkpoint, revision=revision, allow_patterns=patterns))
    except Exception as error:
        reason = f"no such directory, and not found on the hub ({type(error).__name__}); give a directory"
        raise DataError("no_checkpoint", f"model '{checkpoint}': {reason}") from error


def base_of(checkpoint: Path, named: str | None = None) -> Path:
    """The directory of the whole model: ``checkpoint`` itself, or for an adapter the base that it belongs to.

    Args:
        named: the base where the adapter's own files do not tell where it is; wins over them.

    Raises:
        DataError: the base is not found, is an adapter itself, or is not the one that the adapter was trained on.
    """
    if not is_adapter(checkpoint):
        return checkpoint
    note = _json_of(checkpoint / BASE_NOTE)
    wanted = named or named_base(checkpoint)
    beside = checkpoint / note["relative"] if isinstance(note.get("relative"), str) else None
    if named is None and beside is not None and (beside / "config.json").is_file():
        base = beside.resolve()
    elif not wanted:
        raise DataError("no_base", f"{checkpoint}: {ADAPTER_CONFIG} names no base; name it in the model's 'base'")
    else:
        try:
            base = find_checkpoint(wanted, None)
        except DataError as error:
            text = f"{checkpoint}: the base of this adapter is not found ({error}); name it in the model's 'base'"
            raise DataError("no_base", text) from error
    if is_adapter(base):
        raise DataError("no_base", f"{checkpoint}: its base {base} is an adapter itself; merge that one first")
    if note.get("digest") and note["digest"] != digest_of_checkpoint(str(base)):
        text = f"{checkpoint}: this adapter was trained on other weights than those in {base}; name its own base"
        raise DataError("other_base", text)
    return base


def named_base(adapter: Path) -> str:
    """What an adapter's configuration names as its base; "" where it names none."""
    return str(_json_of(adapter / ADAPTER_CONFIG).get("base_model_name_or_path") or "")


def base_name(base: Path, seen_from: Path) -> tuple[str, dict[str, str]]:
    """What an adapter says of its base: a name (on the hub where it came from there), and the note beside it."""
    name = str(base)
    for part in base.parts:
        if part.startswith("models--"):  # the hub's cache: models--OWNER--NAME/snapshots/COMMIT
            name = part.removeprefix("models--").replace("--", "/", 1)
    relative = os.path.relpath(base, seen_from.absolute())
    return name, {"relative": relative, "digest": digest_of_checkpoint(str(base))}


def _json_of(file: Path) -> dict[str, Any]:
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
