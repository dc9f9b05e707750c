"""What a hook's table, a component class, a command and a component must be; each mistake is one line."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Mapping
from typing import Any

from infimed_core.api.component import Component, canonical_json
from infimed_core.plugin_loading import is_outside, place_of_code, told_error, wrong_signature

TRAVELLING = ("reader", "modality", "scorer")
"""Kinds that go to other processes, and so must survive pickling."""
_NOT_TYPED: set[Any] = {dict, set, frozenset, object, complex, type}
"""Types that a command line cannot give."""


def wrong_table(table: Any) -> str:
    """Why what a hook returned is no table of names, "" where it is one."""
    if not isinstance(table, dict):
        what = "None" if table is None else type(table).__name__
        return f"returned {what}; return a table from names to what they stand for, as in {{'name': Class}}"
    for name in table:
        if not isinstance(name, str) or not name.strip() or "/" in name or name != name.strip():
            return f"offers the name {name!r}; a name is text without '/' and without spaces around it"
    return ""


def wrong_offer(bases: Mapping[str, type[Component]], hook: str, name: str, value: Any, is_own: bool) -> str:
    """Why a hook cannot offer ``value`` under ``name``, "" where it can; our own commands need no look.

    ``bases`` has the class that the components of a hook derive from.
    """
    if hook in bases:
        return _wrong_class(bases, hook, value)
    if not callable(value):
        return "is no function"
    wrong = _wrong_command(name, value) if hook == "infimed_commands" and not is_own else ""
    return f"cannot be a command: {wrong}" if wrong else ""


def _wrong_class(bases: Mapping[str, type[Component]], hook: str, component: Any) -> str:
    base = bases[hook]
    if not inspect.isclass(component):
        what = type(component).__name__
        return f"is {_short(component)}; offer the class itself ({what}, without brackets) or 'module:Class'"
    wrong = remedy = ""
    missing = sorted(getattr(component, "__abstractmethods__", ()))
    if not issubclass(component, base):
        others = [name for name, other in bases.items() if issubclass(component, other)]
        wrong = f"is no {base.__name__}"
        remedy = f"offer it through {others[0]}" if others else f"derive it from infimed_core.{base.__name__}"
    elif missing:
        listed = ", ".join(f"'{name}'" for name in missing)
        wrong, remedy = f"lacks the method{'s' * (len(missing) > 1)} {listed}", "define what is missing"
    if wrong:
        return f"{wrong}: {component.__name__} ({place_of_code(component)}); {remedy}"
    if is_outside(component.__module__):
        for name in sorted(base.__abstractmethods__):
            if reason := _wrong_method(base, component, name):
                return f"cannot be called: {reason}"
    return ""


def _wrong_method(base: type[Component], component: type[Any], name: str) -> str:
    """Whether a method can be called as its kind promises; the arguments may have other names."""
    promised, method = inspect.getattr_static(base, name), inspect.getattr_static(component, name)
    if not (inspect.isfunction(promised) and inspect.isfunction(method)):
        return ""
    expected = list(inspect.signature(promised).parameters)
    try:
        inspect.signature(method).bind(*expected)
    except TypeError:
        return wrong_signature(f"{component.__name__}.{name}", expected, method)
    return ""


def _wrong_command(name: str, function: Callable[..., Any]) -> str:
    import typing

    import typer

    try:
        alone = typer.Typer()
        alone.command(name=name)(function)
        typer.main.get_command(alone)
        hints = typing.get_type_hints(function)
    except Exception as error:
        return f"{told_error(error)}; see typer's documentation for the parameters that it takes"
    for parameter in inspect.signature(function).parameters.values():
        default = parameter.default
        kind = hints.get(parameter.name, str if default in (parameter.empty, None) else type(default))
        untypable = {typing.get_origin(part) or part for part in (kind, *typing.get_args(kind))} & _NOT_TYPED
        if untypable:
            typed = f"is of type {untypable.pop().__name__}, which nobody can type; use text, numbers or paths"
            return f"its parameter '{parameter.name}' {typed}"
    return ""


def wrong_component(kind: str, component: Component) -> str:
    """Why a component that has just been made cannot take part in a run, "" where it can."""
    name = type(component).__name__
    try:
        canonical_json(component.model_dump(mode="json"))
    except Exception as error:
        reason = f"{told_error(error)} ({place_of_code(type(component))})"
        return (
            f"the settings of {name} cannot be written as JSON: {reason}; settings are text, numbers, paths, lists and "
            "tables: keep anything else in a functools.cached_property"
        )
    try:
        if kind in TRAVELLING:
            pickle.dumps(component)
    except Exception as error:
        return (
            f"{name} cannot go to another process: {told_error(error)} ({place_of_code(type(component))}); define the "
            "class at the top of its module, and make what cannot be pickled (locks, files, models) in a "
            "functools.cached_property"
        )
    return ""


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
