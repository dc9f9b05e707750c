"""What a component class and a component must be before anything is done with it; each mistake is one line."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Mapping
from typing import Any

from infimed_core.api.component import Component, canonical_json
from infimed_core.plugin_loading import is_outside, place_of_code, told_error

TRAVELLING = ("reader", "modality", "scorer")
"""Kinds that go to other processes, and so must survive pickling."""


def wrong_table(table: Any) -> str:
    """Why what a hook returned is no table of names, "" where it is one."""
    if not isinstance(table, dict):
        what = "None" if table is None else f"{type(table).__name__}"
        return f"returned {what}; return a table from names to what they stand for, as in {{'name': Class}}"
    for name in table:
        if not isinstance(name, str) or not name.strip() or "/" in name or name != name.strip():
            return f"offers the name {name!r}; a name is text without '/' and without spaces around it"
    return ""


def wrong_class(hook: str, bases: Mapping[str, type[Component]], component: Any) -> str:
    """Why what a hook offers is no class of the hook's kind, "" where it is; ``bases`` has the kind of every hook."""
    if not inspect.isclass(component):
        what = type(component).__name__
        return f"is {_short(component)}; offer the class itself ({what}, without brackets) or 'module:Class'"
    base = bases[hook]
    if not issubclass(component, base):
        others = [other for other, kind in bases.items() if issubclass(component, kind)]
        remedy = f"offer it through {others[0]}" if others else f"derive it from infimed_core.{base.__name__}"
        return f"is no {base.__name__}: {component.__name__} ({place_of_code(component)}); {remedy}"
    missing = sorted(getattr(component, "__abstractmethods__", ()))
    if missing:
        listed = ", ".join(f"'{name}'" for name in missing)
        what = f"lacks the method{'s' * (len(missing) > 1)} {listed}: {component.__name__}"
        return f"{what} ({place_of_code(component)}); define what is missing"
    if is_outside(component.__module__):
        for name in sorted(base.__abstractmethods__):
            if reason := _wrong_arguments(base, component, name):
                return reason
    return ""


def wrong_component(kind: str, component: Component) -> str:
    """Why a component that has just been made cannot take part in a run, "" where it can."""
    name = type(component).__name__
    try:
        canonical_json(component.model_dump(mode="json"))
    except Exception as error:
        return (
            f"the settings of {name} cannot be written as JSON: {told_error(error)} "
            f"({place_of_code(type(component))}); settings are text, numbers, "
            "paths, lists and tables: keep anything else in a functools.cached_property"
        )
    if kind in TRAVELLING:
        try:
            pickle.dumps(component)
        except Exception as error:
            return (
                f"{name} cannot go to another process: {told_error(error)} ({place_of_code(type(component))}); define "
                "the class at the top of its module, and make what cannot be pickled (locks, files, models) in a "
                "functools.cached_property"
            )
    return ""


def _wrong_arguments(base: type[Component], component: type[Component], name: str) -> str:
    """Whether a method can be called as its kind promises; the arguments may have other names."""
    promised, own = inspect.getattr_static(base, name), inspect.getattr_static(component, name)
    if not (inspect.isfunction(promised) and inspect.isfunction(own)):
        return ""
    parameters = list(inspect.signature(promised).parameters.values())
    try:
        inspect.signature(own).bind(*(None for _ in parameters))
    except TypeError:
        listed = ", ".join(parameter.name for parameter in parameters)
        return f"cannot be called: {component.__name__}.{name} must take ({listed}) ({place_of_code(own)}); correct it"
    return ""


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
