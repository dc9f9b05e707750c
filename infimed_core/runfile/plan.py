"""A checked run file: what a run works from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infimed_core.api.component import Component, as_named
from infimed_core.runfile.sections import RunFile


@dataclass(frozen=True)
class Plan:
    """A checked run file: the sections with defaults filled in, and every component made."""

    source: Path
    file: RunFile
    components: dict[str, Component]
    """By dotted path of the ``ComponentRef`` in the run file: ``model``, ``data.sources.0``."""
    plugins: frozenset[str] = frozenset()
    """Names of the plugins that take part: of every component, those that defaults name included."""

    def component(self, path: str) -> Any:
        """The component made for the ``ComponentRef`` at ``path``."""
        return self.components[path]

    def as_json(self) -> dict[str, Any]:
        """The run file with every default filled in."""
        document = self.file.model_dump(mode="json", by_alias=True)
        for path, component in self.components.items():
            target: Any = document
            for part in path.split("."):
                target = target[int(part)] if isinstance(target, list) else target.get(part)
                if target is None:
                    break
            if isinstance(target, dict) and "use" in target:
                target["with"] = component.model_dump(mode="json", by_alias=True)
        named: dict[str, Any] = as_named(document)
        return named
