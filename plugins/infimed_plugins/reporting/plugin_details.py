"""One plugin, or one component, with everything that a person who uses it asks for."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Iterable
from typing import Any

from pydantic.fields import FieldInfo

from infimed_core import KINDS, Component, InfimedError, PluginError, Registry

LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "length >=", "max_length": "length <="}
"""The limits of a setting as they are written."""


def summary(component: type[Component]) -> str:
    """The first line of a component's docstring."""
    return ((component.__doc__ or "").strip().splitlines() or [""])[0]


def details(registry: Registry, name: str) -> dict[str, Any]:
    """A plugin by its name, or every component that is named so: ``NAME``, ``plugin/NAME`` or ``kind:NAME``.

    Raises:
        InfimedError: nothing has that name.
    """
    if name in registry.plugins or name in registry.broken:
        return _plugin(registry, name)
    kind, sign, short = name.rpartition(":")
    kinds = [kind] if sign and kind in KINDS else list(KINDS)
    found = [
        _component(registry, each, qualified)
        for each in kinds
        for bare, names in registry.names(each).items()
        for qualified in names
        if short in (bare, qualified)
    ]
    if found:
        return {"components": found}
    known = {*registry.plugins, *registry.broken, *(bare for each in KINDS for bare in registry.names(each))}
    close = difflib.get_close_matches(name, sorted(known), n=3)
    remedy = f"did you mean {' or '.join(close)}?" if close else "`infimed plugins` lists what there is"
    raise InfimedError(f"no plugin and no component is named '{name}'; {remedy}")


def _plugin(registry: Registry, name: str) -> dict[str, Any]:
    offered = {
        kind: [one for names in registry.names(kind).values() for one in names if one.split("/")[0] == name]
        for kind in KINDS
    }
    components = [_component(registry, kind, one) for kind, names in offered.items() for one in sorted(names)]
    groups = [group for group in registry.benchmark_groups() if group.split("/")[0] == name and "/" in group]
    listeners = registry.manager.hook.infimed_run_event.get_hookimpls()
    commands = registry.commands(taken=("run",))
    registry.functions({command: offer for command, offer in commands.items() if offer.plugin == name})
    info = registry.plugins.get(name)
    return {
        "plugin": name,
        "distribution": info.distribution if info else None,
        "version": info.version if info else None,
        "import_seconds": registry.import_seconds.get(name),
        "components": components,
        "benchmark_groups": [group.split("/", 1)[1] for group in groups],
        "commands": sorted(command for command, offer in commands.items() if offer.plugin == name),
        "listens_to_runs": name in [listener.plugin_name for listener in listeners],
        "set_aside": registry.broken.get(name),
        "notes": [text for plugin, text in registry.notes if plugin == name],
    }


def _component(registry: Registry, kind: str, qualified: str) -> dict[str, Any]:
    start = time.perf_counter()
    body: dict[str, Any] = {"kind": kind, "name": qualified, "run_file": list(KINDS[kind].places)}
    try:
        component = registry.find(kind, qualified)
    except PluginError as error:
        registry.set_aside(qualified.split("/")[0], str(error))
        return {**body, "summary": "", "settings": [], "set_aside": str(error)}
    return {
        **body,
        "summary": summary(component),
        "version": component.version,
        "import_seconds": time.perf_counter() - start,
        "settings": [_setting(name, field) for name, field in component.model_fields.items()],
    }


def _setting(name: str, field: FieldInfo) -> dict[str, Any]:
    limits = [
        f"{sign} {getattr(rule, key)}"
        for rule in field.metadata
        for key, sign in LIMITS.items()
        if getattr(rule, key, None) is not None
    ]
    body = {"name": field.alias or name, "type": type_text(field.annotation), "limits": ", ".join(limits)}
    body["help"] = field.description or ""
    if not field.is_required():
        body["default"] = field.get_default(call_default_factory=True)  # type: ignore[call-overload]
    return body


def type_text(annotation: Any) -> str:
    """A type as people write it: ``int | None``, ``'a' | 'b'``, ``list of str``."""
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__name__
    text = re.sub(r"\b(?:\w+\.)+(?=\w)", "", str(annotation))  # without modules
    text = re.sub(r"Literal\[([^\]]*)\]", lambda match: match[1].replace(", ", " | "), text)
    return re.sub(r"Annotated\[([^,\]]*)[^\]]*\]", r"\1", text)


def shown(body: dict[str, Any]) -> list[str]:
    """The same as lines of text."""
    lines = []
    if "plugin" in body:
        of = f" ({body['distribution']} {body['version']})" if body["distribution"] else ""
        seconds = body["import_seconds"]
        takes = f": imported in {1000 * seconds:.0f} ms by every command" if seconds is not None else ""
        lines.append(f"{body['plugin']}{of}{takes}")
        lines += [f"set aside: {body['set_aside']}"] if body["set_aside"] else []
        for what in ("benchmark_groups", "commands"):
            lines += [f"{what.replace('_', ' ')}: {', '.join(body[what])}"] if body[what] else []
        lines += ["listens to what happens in a run (infimed_run_event)"] if body["listens_to_runs"] else []
    for component in body["components"]:
        lines += ["", *_shown_component(component)]
    return lines


def _shown_component(body: dict[str, Any]) -> Iterable[str]:
    yield f"{body['kind']} {body['name']}: {body['summary']}"
    if body.get("set_aside"):
        yield f"  set aside: {body['set_aside']}"
        return
    if body["run_file"]:
        yield f"  in a run file: {', '.join(body['run_file'])}"
    if body["import_seconds"] > 0.1:
        yield f"  imported in {body['import_seconds']:.1f} s by a run that names it"
    yield "  settings:" if body["settings"] else "  no settings"
    for setting in body["settings"]:
        default = f" = {setting['default']!r}" if "default" in setting else " (needed)"
        limits = f", {setting['limits']}" if setting["limits"] else ""
        yield f"    {setting['name']}: {setting['type']}{default}{limits}"
        if setting["help"]:
            yield f"      {setting['help']}"
