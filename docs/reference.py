"""The reference pages, made from the code: commands, the run file, hooks, settings of components, Python names.

``mkdocs build`` makes them while the site is built (``docs/site_hooks.py``). ``python docs/reference.py DIRECTORY``
writes them as Markdown files.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

import infimed_core
from infimed_core import KINDS, Component, Registry, load_plugins, records, testing
from infimed_core import hookspecs as specs

PLURALS = {"modality": "modalities"}


def pages(registry: Registry | None = None) -> dict[str, str]:
    """Markdown by file name."""
    registry = registry or load_plugins()
    made = {"commands.md": commands(registry), "run-file.md": run_file(), "hooks.md": hooks()}
    made |= {f"{slug(kind)}.md": components(kind, registry) for kind in KINDS}
    made |= {"python.md": python_names()}
    return {"index.md": index(made)} | made


def slug(kind: str) -> str:
    """The file name of a kind's page: ``resolution-schedulers``."""
    return plural(kind).replace(" ", "-")


def plural(kind: str) -> str:
    """``readers``, ``modalities``."""
    return PLURALS.get(kind, f"{kind}s")


def index(made: dict[str, str]) -> str:
    """The list of pages."""
    titles = {name: text.splitlines()[0].removeprefix("# ") for name, text in made.items()}
    lines = [
        "# Reference",
        "",
        "These pages are made from the code of the installed version, so they are always complete.",
        "",
        *(f"- [{title}]({name})" for name, title in titles.items()),
    ]
    return "\n".join(lines) + "\n"


def commands(registry: Registry) -> str:
    """Every command with its arguments and options."""
    import typer

    from infimed_core.cli import application, run_typer

    lines = [
        "# Commands",
        "",
        "`infimed COMMAND --help` prints the same in the terminal. Exit codes: 0 when everything was done, 1 when a "
        "step failed or answers are missing, 2 when the command could not start because of a mistake of yours.",
    ]
    group: Any = typer.main.get_command(application(registry))
    single: Any = typer.main.get_command(run_typer)
    every = {"infimed-run": single, **{f"infimed {name}": command for name, command in sorted(group.commands.items())}}
    for name, command in every.items():
        lines += ["", f"## {name}", "", flat(command.help or ""), "", "| argument or option | default | meaning |"]
        lines += ["|---|---|---|", *(_option(one) for one in command.params if one.name != "help")]
    return "\n".join(lines) + "\n"


def _option(option: Any) -> str:
    is_argument = type(option).__name__ == "TyperArgument"
    named = (option.metavar or option.name.upper()) if is_argument else ", ".join(option.opts + option.secondary_opts)
    if not is_argument and not getattr(option, "is_flag", False):
        named += f" {option.metavar or 'VALUE'}"
    default = "required" if option.required else "" if option.default in (None, False, ()) else f"`{option.default}`"
    many = " May be given several times." if option.multiple else ""
    return f"| `{cell(named)}` | {cell(str(default))} | {cell(option.help or '')}{many} |"


def run_file() -> str:
    """The sections of a run file."""
    from infimed_core.runfile.sections import RunFile

    lines = [
        "# The run file",
        "",
        "A run file is YAML. A section that you leave out is a step that is not done. `infimed check FILE` reports "
        "every mistake; `infimed schema` prints the JSON Schema for your editor. A setting that holds a *component* "
        "takes `use:` (its name) and `with:` (its settings).",
        "",
        *_settings(RunFile, "", 2),
    ]
    return "\n".join(lines) + "\n"


def hooks() -> str:
    """Every hook, with the class that a plugin subclasses and what it must implement."""
    lines = [
        "# Hooks",
        "",
        "A plugin implements any of these functions and marks it with `@hookimpl`. A hook of components returns a "
        'table from a name to a class, or to `"module:Class"`. The order is that of a run.',
    ]
    for kind, one in KINDS.items():
        places = ", ".join(f"`{place}`" for place in one.places)
        named = f" A run file names it in {places}." if places else " No place of a run file names it."
        lines += [
            "",
            f"## {one.hook}",
            "",
            f"{flat(one.what)}{named} Components: [{plural(kind)}]({slug(kind)}.md).",
            "",
        ]
        lines += [f"Subclass `infimed_core.{one.base.__name__}`. {flat(first_paragraph(one.base))}", ""]
        lines += _methods(one.base)
    others = [name for name in hook_names() if name not in {one.hook for one in KINDS.values()}]
    for name in others:
        hook = getattr(specs, name)
        lines += ["", f"## {name}", "", f"`{name}{inspect.signature(hook)}`", "", flat(inspect.getdoc(hook) or "")]
    return "\n".join(lines) + "\n"


def hook_names() -> list[str]:
    """Every hook of InfiMed."""
    return [name for name in vars(specs) if name.startswith("infimed_")]


def _methods(base: type) -> Iterator[str]:
    yield "| method | must be written | what it does |"
    yield "|---|---|---|"
    for name, member in inspect.getmembers(base):
        if (
            name.startswith("_")
            or name not in _own_names(base)
            or not (callable(member) or isinstance(member, property))
        ):
            continue
        must = "yes" if name in getattr(base, "__abstractmethods__", ()) else ""
        function = member.fget if isinstance(member, property) else member
        shown = name if isinstance(member, property) else f"{name}{_signature(function)}"
        yield f"| `{cell(shown)}` | {must} | {cell(flat(inspect.getdoc(function) or ''))} |"


def _own_names(base: type) -> set[str]:
    shared = set(dir(Component)) - {"problems", "doubts"}
    return set(dir(base)) - shared


def _signature(function: Any) -> str:
    try:
        text = str(inspect.signature(function))
    except (TypeError, ValueError):
        return "(...)"
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", text).replace("(self, ", "(").replace("(self)", "()").replace("'", "")


def components(kind: str, registry: Registry) -> str:
    """Every component of a kind with its settings."""
    one = KINDS[kind]
    lines = [
        f"# {plural(kind).capitalize()}",
        "",
        f"{flat(one.what)} Plugins offer {plural(kind)} through the hook [`{one.hook}`](hooks.md#{one.hook.lower()}).",
    ]
    for name, component in sorted(registry.components(kind).items(), key=lambda item: item[0].split("/")[-1]):
        plugin, _, short = name.rpartition("/")
        lines += ["", f"## {short}", "", flat(first_paragraph(component)), ""]
        lines += [f"Plugin `{plugin}`. `use: {short}`", "", *_settings(component, short, 3)]
    return "\n".join(lines) + "\n"


def first_paragraph(thing: Any) -> str:
    """The first paragraph of a docstring."""
    return (inspect.getdoc(thing) or "").split("\n\n")[0]


def _settings(model: type[BaseModel], name: str, level: int) -> Iterator[str]:
    """A table of a model's fields, and one of each model in it."""
    schema = TypeAdapter(model).json_schema(by_alias=True, ref_template="#{model}", mode="validation")
    if not schema.get("properties"):
        yield "It has no settings."
        return
    yield from _table(schema, schema.get("$defs", {}))
    for inner, part in sorted(schema.get("$defs", {}).items()):
        if inner != "ComponentRef" and part.get("properties"):
            yield from (
                "",
                f"{'#' * level} {name}{': ' if name else ''}{inner}",
                "",
                flat(part.get("description", "")),
                "",
            )
            yield from _table(part, schema["$defs"])


def _table(schema: dict[str, Any], parts: dict[str, Any]) -> Iterator[str]:
    yield "| setting | type | default | meaning |"
    yield "|---|---|---|---|"
    needed = schema.get("required", ())
    for name, part in schema["properties"].items():
        default = "required" if name in needed else _default(part)
        said = part.get("description") or next((parts[one].get("description", "") for one in _named(part)), "")
        yield f"| `{name}` | {cell(_type(part))} | {cell(default)} | {cell(flat(said))} |"


def _named(part: dict[str, Any]) -> list[str]:
    """The models that a setting holds."""
    inner = [part, *part.get("anyOf", ()), *part.get("allOf", ()), part.get("items", {})]
    return [one["$ref"].removeprefix("#") for one in inner if "$ref" in one]


def _default(part: dict[str, Any]) -> str:
    if "default" not in part:
        return ""
    value = part["default"]
    if value is None or value in ([], {}, ()):
        return "none"
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return f"`{text}`" if text and len(text) <= 160 else "empty" if not text else "see below"


def _type(part: dict[str, Any]) -> str:
    if "$ref" in part:
        name = part["$ref"].removeprefix("#")
        return "component" if name == "ComponentRef" else name
    if "const" in part:
        return f"`{part['const']}`"
    if "enum" in part:
        return " or ".join(f"`{value}`" for value in part["enum"])
    choices = part.get("anyOf") or part.get("oneOf")
    if choices:
        return " or ".join(dict.fromkeys(_type(one) for one in choices if one.get("type") != "null"))
    kind = part.get("type", "any")
    if kind == "array":
        inner = part.get("items") or {}
        return f"list of {_type(inner)}" if inner else "list"
    if kind == "object":
        inner = part.get("additionalProperties")
        return f"map to {_type(inner)}" if isinstance(inner, dict) and inner else "map"
    limits = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    said = [f"{word} {part[key]:g}" for key, word in limits.items() if key in part]
    words = {"integer": "whole number", "string": "text", "boolean": "`true` or `false`"}
    return ", ".join([words.get(kind, kind), *said])


def python_names() -> str:
    """The public names of the packages that a plugin or script may import."""
    lines = ["# Python names", "", "What plugins and scripts may import. Everything else may change without notice."]
    for module, names in (
        (infimed_core, infimed_core.__all__),
        (records, records.__all__),
        (testing, [name for name in vars(testing) if name.startswith(("check_", "make_")) or name == "run"]),
    ):
        lines += ["", f"## {module.__name__}", "", flat(first_paragraph(module)), ""]
        lines += ["| name | what it is |", "|---|---|"]
        for name in sorted(set(names), key=str.lower):
            thing = getattr(module, name)
            is_documented = inspect.isclass(thing) or callable(thing)
            said = flat(first_paragraph(thing)) if is_documented else f"a {type(thing).__name__}"
            lines.append(f"| `{name}` | {cell(said)} |")
    return "\n".join(lines) + "\n"


def flat(text: str) -> str:
    """Docstring text on one line, with single backticks."""
    return re.sub(r"\s+", " ", text.replace("``", "`")).strip()


def cell(text: str) -> str:
    """Text that can stand in a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for file, text in pages().items():
        (target / file).write_text(text, encoding="utf-8")
