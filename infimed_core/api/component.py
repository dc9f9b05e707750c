"""What every component is: its settings are its fields, and a run file names it by a reference."""

from __future__ import annotations

import importlib.util
import json
import os
from abc import ABC
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field


class Component(BaseModel, ABC):
    """What a run file names with ``use:``; its fields are what ``with:`` may set."""

    version: ClassVar[str] = "1"
    """Raised by its author when the component computes something else: what was made before is then made anew."""
    plugin_version: ClassVar[str] = ""
    """Version of the outside distribution that the class comes from, set by the loader: another version of it may
    compute something else. "" for InfiMed's own, whose authors raise ``version``."""
    nested: ClassVar[Mapping[str, str]] = {}
    """Settings that hold a ``ComponentRef``, each with its kind; these components are checked with the run file."""

    packages: ClassVar[Mapping[str, str]] = {}
    """Modules that have to be installed, each with what pip is given for it: ``{"torch": "infimed[train]"}``. What is
    missing is told with the mistakes of the run file."""

    # built on first use: a run pays for the components that it names, not for every installed one
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def identity(self) -> str:
        """Text that changes whenever the component would do something else; part of every artifact's hash."""
        made = f"{type(self).__module__}.{type(self).__qualname__}{canonical_json(self.model_dump(mode='json'))}"
        return with_versions(self, made)

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """What would stop a run later and can be known before it, by setting: ``path``, ``stages.2.trainable``, ``""``.

        Told by line with every other mistake of the run file before anything starts: a file that is not there, a name
        that another component does not have. Cheap: looks at names and at the disk, opens no data. ``run`` holds the
        components that could be made, by place (``model``, ``data.sources.0``).
        """
        return {}

    def missing_packages(self) -> str:
        """Which of ``packages`` are not here, and what installs them; "" where none is missing."""
        missing = {name: wanted for name, wanted in self.packages.items() if not is_installed(name)}
        wanted = " ".join(f"'{name}'" for name in dict.fromkeys(missing.values()))
        return f"needs {', '.join(missing)}, not installed here; run: pip install {wanted}" if missing else ""

    def doubts(self) -> tuple[str, ...]:
        """What stops no run and a person should know before one; told by ``infimed check`` alone.

        May look at the beginning of data: a source whose first rows are no samples.
        """
        return ()

    def __getstate__(self) -> dict[Any, Any]:
        """Pickle settings and private attributes; what a ``cached_property`` holds stays in the process that made it.

        A private attribute that cannot be pickled is refused when the run file is checked.
        """
        state = super().__getstate__()
        fields = type(self).model_fields
        return {**state, "__dict__": {k: v for k, v in state["__dict__"].items() if k in fields}}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Take on what was pickled, and make again what ``model_post_init`` derives from the settings."""
        private = state.get("__pydantic_private__")
        super().__setstate__({**state, "__pydantic_private__": None})
        self.model_post_init(None)
        if private is not None:
            object.__setattr__(self, "__pydantic_private__", private)


def is_installed(module: str) -> bool:
    """Whether a module could be imported; it is not."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def with_versions(component: Component, text: str) -> str:
    """``text`` and the versions of a component: that of the class and that of the outside distribution it is from."""
    versions = [] if component.version == "1" else [component.version]
    return "|".join([text, *versions, *([component.plugin_version] if component.plugin_version else [])])


JsonObject = dict[str, Any]
"""A JSON object."""


class Row(BaseModel):
    """A frozen row that refuses unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64", defer_build=True
    )


class ComponentRef(Row):
    """A component named in a run file: ``use`` names it (``name`` or ``plugin/name``), ``with`` sets it."""

    model_config = ConfigDict(populate_by_name=True)

    use: str = Field(description="Name of a component, qualified as plugin/name where two plugins offer it.")
    settings: dict[str, Any] = Field(default_factory=dict, alias="with", description="The component's settings.")


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text, for hashing."""
    return json.dumps(as_named(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


DATA_ROOTS = "INFIMED_DATA_ROOTS"
"""JSON [[old, new], ...]; a variable, since every worker process needs it too."""


@cache
def _roots(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((old.rstrip("/"), new.rstrip("/")) for old, new in json.loads(text)) if text else ()


def data_roots() -> tuple[tuple[str, str], ...]:
    """(old, new) of every folder of data that was moved since a run named it."""
    return _roots(os.environ.get(DATA_ROOTS, ""))


def _exchanged(text: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for one, other in pairs:
        if text == one or text.startswith(one + "/"):
            return other + text[len(one) :]
    return text


def _everywhere(value: Any, pairs: tuple[tuple[str, str], ...]) -> Any:
    if isinstance(value, str):
        return _exchanged(value, pairs)
    if isinstance(value, dict):
        return {key: _everywhere(inner, pairs) for key, inner in value.items()}
    return [_everywhere(inner, pairs) for inner in value] if isinstance(value, list | tuple) else value


def found_now(value: Any) -> Any:
    """``value`` with every path in it as it is found now."""
    roots = data_roots()
    return _everywhere(value, roots) if roots else value


def as_named(value: Any) -> Any:
    """``value`` with every path in it as the run named it first: what is written and hashed."""
    roots = data_roots()
    return _everywhere(value, tuple((new, old) for old, new in roots)) if roots else value
