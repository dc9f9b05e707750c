"""A checkpoint as it is given away: its own files and a card, without what the run noted beside them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from infimed_core import InfimedError, Registry
from infimed_plugins.checkpoints.card import card_of
from infimed_plugins.checkpoints.places import Place, make_model

OWN_FILES = ("artifact.json", "infimed.json", "infimed-base.json", "infimed-optimizer.safetensors", "README.md")
"""What a run keeps beside a checkpoint, which tells nothing to others or names paths of this machine."""
ADAPTER_CONFIG = "adapter_config.json"


def is_adapter(directory: Path) -> bool:
    """Whether a directory holds an adapter alone."""
    return (directory / ADAPTER_CONFIG).is_file() and not (directory / "config.json").is_file()


def stage_files(place: Place, target: Path, name: str | None, base: str | None, licence: str | None) -> None:
    """Put what is given away into ``target``, large files as links, with a card where none was written by hand.

    Raises:
        InfimedError: an adapter's base is known only as a path of this machine.
    """
    source = Path(place.name)
    for file in sorted(source.iterdir()):
        if file.is_file() and file.name not in OWN_FILES and not file.name.startswith("."):
            _link(file, target / file.name)
    if is_adapter(source):
        base = _name_base(target / ADAPTER_CONFIG, base)
    card = source / "README.md"
    if card.is_file() and not _is_of_peft(card):
        shutil.copyfile(card, target / "README.md")
        return
    stage = place.stage or source.name
    text = card_of(place.run, stage, name, base, licence, is_adapter(source))
    (target / "README.md").write_text(text, encoding="utf-8")


def merge_into(registry: Registry, place: Place, target: Path, base: str | None, dtype: str) -> None:
    """Write the adapter merged into its base: a whole model that needs no PEFT.

    Raises:
        InfimedError: the base is not found, or the model cannot merge.
    """
    loaded: Any = make_model(registry, place.name, base=base, dtype=dtype, device="cpu").load(None)
    if not hasattr(loaded, "merge"):
        raise InfimedError(f"{place.name}: this kind of model cannot merge an adapter")
    loaded.merge()
    loaded.save(target)


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # another file system
        shutil.copyfile(file, target)


def _name_base(config: Path, base: str | None) -> str:
    """The base as others can find it; it replaces a path in the adapter's configuration."""
    import json

    body = json.loads(config.read_text(encoding="utf-8"))
    named = base or str(body.get("base_model_name_or_path") or "")
    if not named or named.startswith(("/", ".", "~")) or named.count("/") != 1:
        raise InfimedError(
            f"this adapter names its base by a path of this machine ({named or 'none'}), which nobody else has; "
            "give its name on the hub: --base OWNER/NAME, or export the merged model: --to merged"
        )
    body["base_model_name_or_path"] = named
    config.unlink()  # it may be a link to the original
    config.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    return named


def _is_of_peft(card: Path) -> bool:
    """Whether a card is the empty form that PEFT writes beside every adapter."""
    return "[More Information Needed]" in card.read_text(encoding="utf-8", errors="replace")
