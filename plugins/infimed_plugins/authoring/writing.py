"""The files of a new plugin, made from the template of its kind."""

from __future__ import annotations

import re
from dataclasses import dataclass

import infimed_core
from infimed_core import KINDS
from infimed_plugins.authoring.template import Template
from infimed_plugins.authoring.templates import TEMPLATES

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{distribution}"
version = "0.1.0"
description = "{what}"
requires-python = ">=3.11"
dependencies = ["infimed>={version}"]

[project.entry-points.infimed]
{name} = "{module}"

[tool.hatch.build.targets.wheel]
only-include = ["{module}.py"]
"""
README = """\
# {distribution}

A plugin for InfiMed: the {kind} `{name}`.

```sh
pip install -e .
pytest
infimed plugins {name}
```

A run file names it:

```yaml
{in_run_file}
```

`{module}.py` is the plugin; `test_{module}.py` checks that it keeps the promises of its kind. Raise the version in
`pyproject.toml` when results change: what it took part in is then made anew.
"""
TEST = """\
{imports}


def test_{snake}_keeps_the_promises_of_{kind_snake}(tmp_path: Path) -> None:
{body}
"""
CHECKS = {"resolution scheduler": "check_scheduler"}
"""Kinds whose check in ``infimed_core.testing`` has another name than ``check_KIND``."""


@dataclass(frozen=True)
class NewPlugin:
    """A plugin of one component that is to be written: its kind, and its name in small letters with hyphens."""

    kind: str
    name: str

    @property
    def snake(self) -> str:
        """The name as that of a module or function."""
        return self.name.replace("-", "_")

    @property
    def class_name(self) -> str:
        """The name as that of a class, another than those that a template imports."""
        camel = "".join(part.capitalize() for part in self.name.split("-"))
        return f"My{camel}" if hasattr(infimed_core, camel) or camel in ("Any", "Path", "Field", "Run") else camel

    @property
    def template(self) -> Template:
        """What differs from kind to kind."""
        return TEMPLATES[self.kind]

    @property
    def function_name(self) -> str:
        """The name as that of a function, another than those that a template imports."""
        return self.snake + "_" * (self.snake in self.template.function_uses.split())

    def _filled(self, text: str) -> str:
        named = re.sub(r"\bNAME\b", self.name, re.sub(r"\bNAME_\b", self.function_name, text))
        return re.sub(r"(?<![a-z])Name(?=Stage|\b)|(?<=Loaded)Name\b", self.class_name, named)

    def _component(self) -> str:
        """The class, offered under its name."""
        body = self._filled(self.template.component).strip("\n")
        first, sign, rest = body.rpartition(f"class {self.class_name}(")
        return f'{first}@offer("{self.name}")\n{sign}{rest}'

    def module(self) -> str:
        """The plugin as a class, with a docstring and its imports."""
        imports = _imports(self.template.imports, [*self.template.uses.split(), "offer"])
        return f'"""A plugin for InfiMed: the {self.kind} `{self.name}`."""\n\n{imports}\n\n\n{self._component()}\n'

    def file(self) -> str:
        """The plugin as one file: a decorated function where the kind allows one, else the class."""
        if not self.template.function:
            return self.module()
        imports = _imports("", self.template.function_uses.split())
        function = self._filled(self.template.function).strip("\n")
        if self.function_name != self.snake:
            function = function.replace("\n", f'("{self.name}")\n', 1)
        return f"{imports}\n\n\n{function}\n"

    def test(self, module: str) -> str:
        """A test that the component keeps the promises of its kind."""
        check = CHECKS.get(self.kind, f"check_{self.kind}")
        body = [*self.template.setup.splitlines(), f"{check}({self.template.made})"]
        text = self._filled("\n".join(f"    {line}" for line in body))
        names = [name for name in ("Media", "load_plugins") if re.search(rf"\b{name}\b", text)]
        imports = ["from pathlib import Path\n"]
        imports += ["import numpy as np"] if "np." in text else []
        imports += [f"from infimed_core import {', '.join(names)}"] if names else []
        imports += [f"from infimed_core.testing import {check}", f"from {module} import {self.class_name}"]
        kind = f"{'an' if self.kind[0] in 'aeio' else 'a'}_{self.kind.replace(' ', '_')}"
        return TEST.format(imports="\n".join(imports), snake=self.snake, kind_snake=kind, body=text)

    def project(self, version: str) -> dict[str, str]:
        """An installable project: content by file name."""
        module, distribution = f"infimed_{self.snake}", f"infimed-{self.name}"
        said = {
            "module": module,
            "distribution": distribution,
            "name": self.name,
            "kind": self.kind,
            "version": version,
            "what": f"The {self.kind} {self.name} for InfiMed: {KINDS[self.kind].what}",
            "in_run_file": self._filled(self.template.in_run_file),
        }
        return {
            "pyproject.toml": PYPROJECT.format(**said),
            "README.md": README.format(**said),
            f"{module}.py": self.module(),
            f"test_{module}.py": self.test(module),
        }


def _imports(others: str, names: list[str]) -> str:
    """Lines of imports in their usual order: what Python brings, then what is installed, and constants at the end."""
    standard: list[str] = []
    installed: list[str] = []
    constants: list[str] = []
    ours = f"from infimed_core import {', '.join(sorted(names, key=lambda n: (not n.isupper(), n[0].islower(), n)))}"
    for line in filter(None, [*others.splitlines(), ours]):
        module = line.split()[1] if line.startswith(("from", "import")) else ""
        is_installed = module.split(".")[0] in ("infimed_core", "numpy", "pydantic")
        (constants if not module else installed if is_installed else standard).append(line)
    straight_first = lambda line: (line.startswith("from"), line.split()[1])  # noqa: E731
    groups = [sorted(standard, key=straight_first), sorted(installed, key=straight_first), constants]
    return "\n\n".join("\n".join(group) for group in groups if group)
