"""``dataset_info.json`` of LLaMA-Factory: which columns of a file hold what, and whose turn is whose."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infimed_core import DataError, canonical_json, read_named
from infimed_plugins.readers.fields import PAIRS
from infimed_plugins.readers.files import sha256_of
from infimed_plugins.readers.values import known

NAME = "dataset_info.json"
COLUMNS = {
    "prompt": "instruction", "query": "input", "response": "output", "history": "history", "system": "system",
    "tools": "tools", "images": "images", "videos": "videos", "audios": "audios", "messages": "conversations",
    "chosen": "chosen", "rejected": "rejected", "kto_tag": "kto_tag",
}  # fmt: skip
"""Its names of columns, and how we call what they hold."""
TAGS = {
    "user_tag": ("human", "user"), "assistant_tag": ("gpt", "assistant"), "system_tag": ("system", "system"),
    "observation_tag": ("observation", "observation"), "function_tag": ("function_call", "function_call"),
}  # fmt: skip
"""Its names of roles, each with its default and how we call it."""
MEANT = frozenset(
    {"instruction", "input", "output", "history", "system", "images", "image", "conversations", "messages", "question",
     "query", "prompt", "answer", "response", "caption"}
)  # fmt: skip
"""Fields that mean something to us, and that a description would name if they were meant."""

_known: dict[tuple[str, str], dict[str, Any]] = {}


@dataclass(frozen=True)
class Layout:
    """How one file is laid out."""

    name: str
    entry: Mapping[str, Any] = field(default_factory=dict)

    def renamed(self, row: Mapping[str, Any], ignore: Collection[str] = ()) -> dict[str, Any]:
        """The row with the names that we know.

        Raises:
            DataError: ``bad_row``: it lacks what the description names; ``unsupported_field``: it is ranked, or one of
                rows of which only some are to be drawn.
        """
        if self.entry.get("ranking"):
            raise DataError("unsupported_field", f"'ranking' of '{self.name}': {PAIRS}")
        if self.entry.get("num_samples") and "num_samples" not in ignore:
            told = f"of '{self.name}' in {NAME}: no rows are drawn here; max_samples reads the first, or"
            raise DataError("unsupported_field", f"'num_samples' {told} set ignore: [num_samples] to read all of them")
        columns = self._part("columns")
        chat = self.entry.get("formatting", "alpaca") != "alpaca"
        usual = {"messages": "conversations"} if chat else {"prompt": "instruction", "query": "input"}
        usual |= {} if chat else {"response": "output"}
        named = {**usual, **columns}
        for theirs in ("messages",) if chat else ("prompt", "response"):
            if named[theirs] not in row:
                raise DataError("bad_row", f"no '{named[theirs]}', which {NAME} names as {theirs} of '{self.name}'")
        taken = set(named.values())
        found = {key: value for key, value in row.items() if key not in taken and key not in MEANT}
        for theirs, column in named.items():
            if theirs in COLUMNS and column in row:
                found[COLUMNS[theirs]] = row[column]
        messages = known(found.get("conversations"))
        if isinstance(messages, list):
            found["conversations"] = [self._message(message) for message in messages]
        return found

    def _message(self, message: Any) -> Any:
        if not isinstance(message, Mapping):
            return message
        tags = self._part("tags")
        openai = self.entry.get("formatting") == "openai"
        role, content = tags.get("role_tag", "from"), tags.get("content_tag", "value")
        if openai:
            role, content = tags.get("role_tag", "role"), tags.get("content_tag", "content")
        ours = {str(tags.get(tag, usual[1] if openai else usual[0])): usual[1] for tag, usual in TAGS.items()}
        rest = {key: value for key, value in message.items() if key not in (role, content, "from", "role", "value")}
        said = message.get(role)
        return {**rest, "from": ours.get(str(said), said), "value": message.get(content)}

    def _part(self, name: str) -> dict[str, str]:
        part = self.entry.get(name) or {}
        if not isinstance(part, dict):
            raise DataError("bad_row", f"'{name}' of '{self.name}' in {NAME} must be an object")
        return part

    def digest(self) -> str:
        """What the description says, for a fingerprint."""
        return canonical_json([self.name, dict(self.entry)])


def described(info: Path) -> dict[str, Any]:
    """The entries of a ``dataset_info.json`` by name; none where the file is none of that kind.

    Raises:
        DataError: ``bad_file``: it cannot be read, or is no JSON.
    """
    key = (str(info), sha256_of(info))
    if key not in _known:
        try:
            body = json.loads(read_named(info))
        except OSError as error:
            raise DataError("bad_file", f"{info}: cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise DataError("bad_file", f"{info}: not JSON: {error}") from None
        body = body if isinstance(body, dict) else {}
        _known[key] = {name: entry for name, entry in body.items() if isinstance(entry, dict)}
    return _known[key]


def files_of(info: Path, dataset: str | None) -> list[Path]:
    """The data files that the description names, or those of one data set.

    Raises:
        DataError: ``missing_file``: the data set or its file is not there.
    """
    entries = described(info)
    if dataset is not None and dataset not in entries:
        raise DataError("missing_file", f"{info}: no data set '{dataset}' (there are: {', '.join(entries) or 'none'})")
    found: list[Path] = []
    for name, entry in entries.items():
        if dataset not in (None, name):
            continue
        file = info.parent / str(entry.get("file_name", ""))
        if "file_name" not in entry:
            if dataset == name:
                raise DataError("missing_file", f"{info}: '{name}' names no local file; download it first")
            continue
        inner = sorted(file.iterdir()) if file.is_dir() else [file]
        found += [one for one in inner if one.suffix in (".json", ".jsonl", ".gz")]
        if not file.exists():
            raise DataError("missing_file", f"{info}: {file}, the file of '{name}', is not there")
    if not found:
        raise DataError("missing_file", f"{info}: it names no local file")
    return sorted(dict.fromkeys(Path(os.path.abspath(file)) for file in found))


def layout_of(file: Path, dataset: str | None) -> Layout | None:
    """What the ``dataset_info.json`` beside a file (or beside its folder) says of it, if anything.

    Raises:
        DataError: ``bad_file``: two entries describe it in different ways, and ``dataset`` names neither.
    """
    for folder in (file.parent, file.parent.parent):
        info = folder / NAME
        if info == file or not info.is_file():
            continue
        found = [
            Layout(name, entry)
            for name, entry in described(info).items()
            if dataset in (None, name) and "file_name" in entry and _names(folder / str(entry["file_name"]), file)
        ]
        if len({canonical_json(dict(layout.entry)) for layout in found}) > 1:
            names = ", ".join(layout.name for layout in found)
            raise DataError("bad_file", f"{info} describes {file.name} as {names}; set dataset: to one of them")
        if found:
            return found[0]
    return None


def _names(named: Path, file: Path) -> bool:
    return Path(os.path.abspath(named)) in (file, file.parent)
