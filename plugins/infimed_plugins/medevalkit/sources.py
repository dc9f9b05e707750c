"""Where a benchmark's rows come from: a local folder in upstream's layout, or the hub through ``datasets``."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infimed_core import DataError
from infimed_plugins.medevalkit.cards import Card
from infimed_plugins.medevalkit.folders import find_tables, read_table

Row = tuple[str, Any]
"""The place of a row, and the row: an object, or the error it is."""
BATCH = 64
"""Rows of a hub data set in memory at once."""


def rows(card: Card, path: str | None) -> Iterator[Row]:
    """Every row with the place it comes from, in upstream's order; several configurations one after the other.

    Raises:
        DataError: ``missing_data``, with how to get it.
    """
    configs: tuple[str | None, ...] = card.source.configs or (card.source.config,)
    for config in configs:
        for where, row in _local(card, Path(path), config) if path else _hub(card, config):
            yield where, {"__config__": config, **row} if config is not None and isinstance(row, dict) else row


def folder(card: Card, path: str | None) -> Path:
    """The folder that image names are relative to; from the hub, a snapshot with its archives unpacked."""
    if path:
        root = Path(path)
        if not root.is_dir():
            raise DataError("missing_data", f"{root}: no such folder; {remedy(card)}")
        return root
    return snapshot(card) if card.source.archives else Path()


def _local(card: Card, root: Path, config: str | None) -> Iterator[Row]:
    if not root.is_dir():
        raise DataError("missing_data", f"{root}: no such folder; {remedy(card)}")
    tables = find_tables(root, card.source.files, config, card.source.split)
    if not tables:
        wanted = " or ".join(card.source.files) or f"a {card.source.split} file in Parquet, JSON or CSV"
        inside = f" for {config}" if config else ""
        raise DataError("missing_data", f"{root}: {wanted} is not there{inside}; {remedy(card)}")
    for table in tables:
        yield from read_table(table)


def _hub(card: Card, config: str | None) -> Iterator[Row]:
    source = card.source
    if source.hub is None:
        raise DataError("missing_data", f"{card.name} is not on the hub; {remedy(card)}")
    if source.archives or card.layout in ("omnimedvqa", "healthbench"):
        yield from _local(card, snapshot(card), config)
        return
    try:
        from datasets import load_dataset

        data = load_dataset(source.hub, config, split=source.split, revision=source.revision)
        data = data.with_format("arrow")  # no feature of the package opens what a row names, however deep
    except Exception as error:
        raise _unreachable(card, error) from error
    for start in range(0, len(data), BATCH):
        for index, row in enumerate(data[start : start + BATCH].to_pylist(), start):
            yield f"{source.hub}[{index}]", row


def snapshot(card: Card) -> Path:
    """The hub repository on disk, its zip archives unpacked beside them, each once."""
    try:
        from huggingface_hub import snapshot_download

        root = Path(snapshot_download(str(card.source.hub), repo_type="dataset", revision=card.source.revision))
    except Exception as error:
        raise _unreachable(card, error) from error
    for archive in sorted(root.glob("**/*.zip")):
        unpack(archive, archive.parent)
    return root


def unpack(archive: Path, target: Path) -> None:
    """Unpack a zip archive beside it, once; names that would leave the folder are refused.

    Raises:
        DataError: the archive is broken or names a file outside.
    """
    mark = archive.with_suffix(".unpacked")
    if mark.exists():
        return
    try:
        with zipfile.ZipFile(archive) as content:
            for name in content.namelist():
                if not (target / name).resolve().is_relative_to(target.resolve()):
                    raise DataError("unsafe_archive", f"{archive}: '{name}' lies outside the folder")
            content.extractall(target)
    except zipfile.BadZipFile as error:
        raise DataError("truncated", f"{archive}: {error}; delete it and download it again") from error
    mark.touch()


def remedy(card: Card) -> str:
    """How to get the data of a benchmark."""
    source = card.source
    if source.access != "open":
        return f"how to get it: {source.access}"
    if source.hub:
        return f"download it with 'hf download --repo-type dataset {source.hub}' and set path, or leave path out"
    return f"see {source.url}"


def _unreachable(card: Card, error: Exception) -> DataError:
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return DataError(
        "missing_data",
        f"{card.name}: {card.source.hub} cannot be loaded from the hub ({reason}); on another machine run "
        f"'hf download --repo-type dataset {card.source.hub} --local-dir DIR' and set path: DIR",
    )
