"""Folders of data as Hugging Face ``datasets`` reads them, and no file that lies outside of them.

The package follows what a folder's own card, state and links say: it fetches URLs and opens any path. So what they name
is looked at before the package is given the folder, and the files that it would read before it reads them.
"""

from __future__ import annotations

import json
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infimed_core import DataError
from infimed_plugins.readers.places import ending_of, is_plain

FORMS = (
    "csv", "json", "parquet", "arrow", "text", "conll", "webdataset",
    "imagefolder", "audiofolder", "videofolder", "pdffolder", "niftifolder",
)  # fmt: skip
"""Readers of ``datasets`` that open the files they are given and no other; HDF5, for one, follows links out of them."""
PLAIN_MEMBERS = ("txt", "text", "transcript", "cls", "cls2", "index", "inx", "id", "json", "jsn")
"""Members of an archive that ``datasets`` decodes without a library that runs what they say, or ends at a bad one."""


def load_folder(folder: Path, name: str | None, split: str) -> Any:
    """One split of a folder: one that ``save_to_disk`` wrote, or data files with or without a card.

    Raises:
        DataError: ``outside_root``, ``remote_media``: it names what lies outside of it; ``bad_file``: it holds what is
            no file, or a form that is not read.
    """
    import datasets

    root = Path(os.path.realpath(_root(folder)))
    _check_tree(folder, root)
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        part = folder if (folder / "state.json").is_file() else folder / split
        state = json.loads((part / "state.json").read_text(encoding="utf-8"))
        for file in state["_data_files"]:
            _check_name(str(file["filename"]), folder)
            _check_file(part / file["filename"], root)
        return datasets.Dataset.load_from_disk(str(part))
    for pattern in _patterns(folder):
        _check_name(pattern, folder)
    builder = datasets.load_dataset_builder(str(folder.absolute()), name)
    modules = [kind.__module__.split(".") for kind in type(builder).__mro__]
    form = next((parts[2] for parts in modules if parts[:2] == ["datasets", "packaged_modules"]), "")
    if form not in FORMS:
        raise DataError("bad_file", f"{folder} holds {form or 'nothing'} that is not read; read are {', '.join(FORMS)}")
    for files in (builder.config.data_files or {}).values():
        for file in files:
            if "://" in file:
                _check_name(file, folder)
            _check_file(Path(file), root)
            if form == "webdataset":
                _check_members(Path(file))
    builder.download_and_prepare()
    return builder.as_dataset(split=split)


def files_of(folder: Path) -> Iterator[Path]:
    """Every plain file of a folder, sorted; links that lead out of it are left alone."""
    root = os.path.realpath(_root(folder))
    for place in sorted(folder.rglob("*")):
        if is_plain(place) and Path(os.path.realpath(place)).is_relative_to(root):
            yield place


def _root(folder: Path) -> Path:
    """The folder itself; of a snapshot in the hub's cache the repository, whose files it links to."""
    repository = folder.absolute().parent.parent
    return repository if folder.absolute().parent.name == "snapshots" and (repository / "blobs").is_dir() else folder


def _check_tree(folder: Path, root: Path) -> None:
    """No pipes and devices, and no links to files elsewhere but those to images, which are checked row by row."""
    for place, _, names in os.walk(folder):
        for entry in (Path(place, name) for name in names):
            mode = os.lstat(entry).st_mode
            if stat.S_ISLNK(mode):
                if not ending_of(entry.name) or not is_plain(entry):
                    _check_file(entry, root)
            elif not stat.S_ISREG(mode):
                raise DataError("bad_file", f"{entry} is no plain file (a pipe or device), and is not opened")


def _check_file(place: Path, root: Path) -> None:
    if not Path(os.path.realpath(place)).is_relative_to(root):
        raise DataError("outside_root", f"'{place}' leads out of {root}; put a copy of the file into the folder")
    if os.path.exists(place) and not is_plain(place):
        raise DataError("bad_file", f"{place} is no plain file (a folder, pipe or device), and is not opened")


def _check_name(name: str, folder: Path) -> None:
    if "://" in name or "::" in name:
        told = "fetch it yourself and put it into the folder, or name the data set on the hub"
        raise DataError("remote_media", f"{folder} names '{name[:200]}', which is no file of it; {told}")
    if os.path.isabs(name) or name.startswith("~") or ".." in name.replace("\\", "/").split("/"):
        raise DataError("outside_root", f"{folder} names '{name[:200]}', which leads out of it; put a copy into it")


def _patterns(folder: Path) -> Iterator[str]:
    """What the card of a folder, and the file of settings beside it, say that its data are."""
    import yaml
    from huggingface_hub import DatasetCard

    said: list[Any] = []
    if (folder / "README.md").is_file():
        said.append(DatasetCard.load(folder / "README.md", ignore_metadata_errors=True).data.to_dict())
    for name in (".huggingface.yaml", ".huggingface.yml"):
        if (folder / name).is_file():
            said.append(yaml.safe_load((folder / name).read_text(encoding="utf-8")))
    for body in said:
        configs = body.get("configs") if isinstance(body, dict) else None
        for config in configs if isinstance(configs, list) else ():
            if isinstance(config, dict):
                yield from _texts([config.get("data_files"), config.get("data_dir")])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _check_members(archive: Path) -> None:
    """Refuse an archive in which a member would be decoded by torch or NumPy: one that cannot be ends all others."""
    from datasets.packaged_modules.webdataset.webdataset import WebDataset

    decoded = set(WebDataset.DECODERS) - set(PLAIN_MEMBERS)
    with tarfile.open(archive) as members:
        for member in members:
            endings = os.path.basename(member.name).lower().split(".")[1:]
            if bad := next((ending for ending in endings[-2:] if ending in decoded), None):
                told = "read the archive with the reader webdataset, which makes such a member a fault"
                raise DataError("bad_file", f"{archive} holds '{member.name[:100]}' (.{bad}); {told}")
