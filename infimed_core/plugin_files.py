"""Plugins that are one file: a module whose name says its content, so that every process imports the same code."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any

from infimed_core.errors import PluginError
from infimed_core.named_files import read_named

__path__: list[str] = []
"""Makes modules below this one possible: whoever unpickles what such a module defines imports this one first."""
VARIABLE = "INFIMED_PLUGIN_FILES"
"""JSON {module: [path, whether it is the command's]}; a variable, since worker processes need the files too."""
PREFIX = f"{__name__}."
OFFERED = "__infimed_offered__"
"""Attribute of a class that a decorator offers: its hook and its name."""


def known_files() -> dict[str, tuple[str, bool]]:
    """Every plugin file in use by the name of its module: its path, and whether the command line names it."""
    return {name: (path, always) for name, (path, always) in json.loads(os.environ.get(VARIABLE) or "{}").items()}


def remember(files: Mapping[str, tuple[str, bool]]) -> None:
    """Make these the plugin files in use, in this process and in those that it starts."""
    os.environ[VARIABLE] = json.dumps(files)


def is_file(name: str) -> bool:
    """Whether a run file names a plugin by its file: ``./mine.py`` or ``mine.py``, not ``mine``."""
    return name.endswith(".py") or "/" in name or os.sep in name


def plugin_of_file(module: str) -> str:
    """The plugin of a module below this one; "" for every other module."""
    path, _ = known_files().get(module, ("", False)) if module.startswith(PREFIX) else ("", False)
    return Path(path).stem


def version_of(source: bytes) -> str:
    """The version of a plugin file: the beginning of its hash, so that a change of the file makes results anew."""
    return hashlib.sha256(source).hexdigest()[:12]


def module_of(path: Path, always: bool) -> tuple[str, str]:
    """The module of a plugin file, which every process finds from now on, and its version.

    Raises:
        PluginError: the file cannot be read, or its name cannot be that of a plugin.
    """
    if path.suffix != ".py" or not re.fullmatch(r"[A-Za-z]\w*", path.stem):
        named = "letters, digits and '_', then .py"
        raise PluginError(f"{path} cannot be a plugin; name a Python file ({named}), or a plugin that is installed")
    try:
        version = version_of(read_named(path))
    except OSError as error:
        raise PluginError(f"the plugin file {path} cannot be read: {error.strerror}; correct its path") from None
    module = f"{PREFIX}{path.stem}_{version}"
    remember({**known_files(), module: (str(path.resolve()), always)})
    return module, version


class _Loader(SourceFileLoader):
    """Runs the file as it is: bytecode kept beside it might be that of a second ago."""

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path)
        if version_of(source) != fullname.rpartition("_")[2]:
            raise ImportError(f"{self.path} was changed while it was in use; start the command again", name=fullname)
        return self.source_to_code(source, self.path)


class _Finder:
    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Where a plugin file is; ``None`` for every other module."""
        if not name.startswith(PREFIX) or name not in known_files():
            return None
        file, _ = known_files()[name]
        return spec_from_file_location(name, file, loader=_Loader(name, file))


sys.meta_path.append(_Finder())  # type: ignore[arg-type]


def offered_by(module: Any) -> list[tuple[str, str, type]]:
    """(hook, name, class) of everything in a module that a decorator offers."""
    classes = [value for value in vars(module).values() if isinstance(value, type) and OFFERED in vars(value)]
    return [(*vars(made)[OFFERED], made) for made in classes]
