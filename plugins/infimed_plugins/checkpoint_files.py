"""What a checkpoint on this disk is made of, looked at before a library opens it; and one line where one cannot."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from infimed_core import DataError, InfimedError

INDEX, WEIGHTS = ".safetensors.index.json", ".safetensors"
AGAIN = "copy or download the checkpoint again"
MOST_LAYERS = 1024
"""Layers, blocks, stages or experts of one kind that a configuration may ask for where fewer tensors are there."""
PARAMETERS_OF_A_BYTE, MOST_SMALL = 8, 2**24
"""A model may have so many parameters for each byte of its weights (4 bits make 2), or so many in any case."""
_COUNTS = re.compile(r"layers?$|depths?$|blocks?$|stages?$|experts?$|^n_layer|^num_hidden")
_MOST_HEADER = 100 * 2**20


@dataclass(frozen=True)
class Weights:
    """The weights of a directory: bytes of all files, number of tensors, and the longest side of any."""

    num_bytes: int = 0
    num_tensors: int = 0
    longest: int = 0


@contextmanager
def opening(place: Path | str, remedy: str = AGAIN) -> Iterator[None]:
    """Within this, whatever a library raises over a checkpoint is one line that names it.

    Raises:
        DataError: something else than an ``InfimedError`` was raised.
    """
    try:
        yield
    except InfimedError:
        raise
    except Exception as error:  # of transformers, tokenizers, safetensors, huggingface_hub and what they call
        raise DataError("no_checkpoint", f"{place}: cannot be opened: {one_line(error)}; {remedy}") from error


def one_line(error: BaseException) -> str:
    """What an error says, in a line of at most 300 letters, and its kind where that says more."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else ""
    if said.endswith(":") and len(lines) > 1:
        said += f" {lines[1]}"
    kind = type(error).__name__
    if not said or isinstance(error, LookupError | ArithmeticError | RecursionError | MemoryError):
        said = f"{kind}: {said}".rstrip(": ")
    return said[:300]


def check_files(directory: Path) -> Weights:
    """Look at a local checkpoint before anything opens it.

    Weights are safetensors that are whole and lie in the directory, whatever an index names; links stay inside (or
    lead to the blobs of the hub's cache); a whole model has no adapter beside it; no configuration asks for more layers
    than there are tensors.

    Raises:
        DataError: something is otherwise; the message names the file.
    """
    files = [file for file in sorted(directory.rglob("*")) if not _is_hidden(file.relative_to(directory))]
    for file in files:
        if not _stays(file, directory):
            raise _refused(file, "is a link that leaves the checkpoint; put the file itself there")
        if not file.is_file() and not file.is_dir():
            raise _refused(file, f"is no regular file; {AGAIN}")
    config_file = directory / "config.json"
    config = _object(config_file) if config_file.is_file() else {}
    if config and (directory / "adapter_config.json").is_file():
        reason = "lies beside config.json: a checkpoint is a whole model or an adapter; move one to a folder of its own"
        raise _refused(directory / "adapter_config.json", reason)
    named = config.get("transformers_weights")
    if named is not None and (not _is_plain(named, (WEIGHTS, INDEX)) or "/" in named):
        raise _refused(config_file, f"'transformers_weights' names {named!r}, no safetensors file beside it")
    weights = {file for file in directory.glob(f"*{WEIGHTS}") if not file.name.startswith(".")}
    for index in sorted(directory.glob(f"*{INDEX}")):
        weights |= _named_by(index)
    headers = [(file, _header(file)) for file in sorted(weights)]
    shapes = [shape for _, header in headers for shape in header]
    found = Weights(
        sum(file.stat().st_size for file, _ in headers),
        len(shapes),
        max((max(s, default=1) for s in shapes), default=0),
    )
    _check_counts(config_file, config, max(MOST_LAYERS, found.num_tensors))
    return found


def check_weights(directory: Path) -> Weights:
    """As ``check_files``, of a directory whose weights are to be loaded.

    Raises:
        DataError: also where there are no weights in safetensors.
    """
    found = check_files(directory)
    if not found.num_tensors:
        reason = "holds no weights in safetensors; other formats are not opened, they could run code; convert them"
        raise _refused(directory, reason)
    return found


def check_size(directory: Path, found: Weights, build: Callable[[], Any]) -> None:
    """Whether a model is about as large as its weights; it is built without memory for its parameters.

    Raises:
        DataError: it is far larger: its configuration is damaged, and memory for it would be asked for in vain.
    """
    import torch

    with opening(directory / "config.json"), torch.device("meta"):
        num_parameters = sum(parameter.numel() for parameter in build().parameters())
    if num_parameters > max(MOST_SMALL, PARAMETERS_OF_A_BYTE * found.num_bytes):
        reason = f"describes {num_parameters:,} parameters, and the weights have {found.num_bytes:,} bytes; {AGAIN}"
        raise _refused(directory / "config.json", reason)


def _refused(file: Path, reason: str) -> DataError:
    return DataError("no_checkpoint", f"{file}: {reason}")


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def _stays(file: Path, directory: Path) -> bool:
    """Whether a file lies in the directory, or where the hub's cache keeps the files of its snapshots."""
    if not file.is_symlink():
        return True
    home, target = directory.resolve(), Path(os.path.realpath(file))
    blobs = [home.parent.parent / "blobs"] if home.parent.name == "snapshots" else []
    return any(target.is_relative_to(place) for place in (home, *blobs))


def _is_plain(name: Any, endings: tuple[str, ...]) -> bool:
    """Whether a name is that of a file of such an ending in the folder or below it."""
    if not isinstance(name, str) or not name.endswith(endings) or "\\" in name or "\0" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and not any(part.startswith(".") for part in path.parts)


def _object(file: Path) -> dict[str, Any]:
    try:
        body = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(file, f"cannot be used: {one_line(error)}; {AGAIN}") from error
    if not isinstance(body, dict):
        raise _refused(file, f"cannot be used: it holds no JSON object; {AGAIN}")
    return body


def _named_by(index: Path) -> set[Path]:
    """The files that an index says the weights are in."""
    body = _object(index)
    names = body.get("weight_map")
    if not isinstance(names, dict) or not names or not isinstance(body.get("metadata", {}), dict):
        raise _refused(index, f"is no index of weights; {AGAIN}")
    for name in names.values():
        if not _is_plain(name, (WEIGHTS,)):
            raise _refused(index, f"names {name!r}: weights are read from safetensors files in its own folder alone")
    files = {index.parent / name for name in names.values()}
    for file in sorted(files):
        if not file.is_file():
            raise _refused(file, f"is not there, though {index.name} names it; {AGAIN}")
    return files


def _header(file: Path) -> list[list[int]]:
    """The shapes of the tensors of a safetensors file, which must be as long as its header says."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > min(size - 8, _MOST_HEADER):
                raise ValueError("its header is longer than the file")
            header = json.loads(stream.read(length))
        tensors = [value for name, value in header.items() if name != "__metadata__"]
        if 8 + length + max((int(one["data_offsets"][1]) for one in tensors), default=0) != size:
            raise ValueError("its tensors end elsewhere than the file")
        return [[int(side) for side in one["shape"]] for one in tensors]
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise _refused(file, f"is no whole safetensors file ({one_line(error)}); {AGAIN}") from error


def _check_counts(file: Path, config: Mapping[str, Any], most: int) -> None:
    """Refuse layers without end, for which a library would build module after module before it looks at weights."""
    waiting: list[Any] = [config]
    while waiting:
        body = waiting.pop()
        if isinstance(body, list):
            waiting += body
        elif isinstance(body, dict):
            waiting += body.values()
            for key, value in body.items():
                for number in value if isinstance(value, list) else [value]:
                    if isinstance(number, int | float) and _COUNTS.search(key) and number > most:
                        reason = f"'{key}' is {number}, more than the tensors that are there; {AGAIN}"
                        raise _refused(file, reason)
