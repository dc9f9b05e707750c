"""Tools of a conversation: those that are offered, and the calls that an assistant's turn makes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from infimed_core import DataError, ToolCall
from infimed_plugins.readers.values import as_json, is_empty, known

CALL_ROLES = frozenset({"tool_call", "function_call"})
"""Roles of a message that is nothing but a call (ms-swift, LLaMA-Factory)."""
RESULT_ROLES = frozenset({"tool", "tool_response", "function", "observation"})
"""Roles of a message that holds what a tool gave back."""


def tools_of(value: Any) -> tuple[dict[str, Any], ...]:
    """The tools that a row offers: a list of objects, or a text of JSON that holds one, in the form of templates.

    Raises:
        DataError: ``bad_row``: it is something else.
    """
    value = known(value)
    if is_empty(value):
        return ()
    value = _from_json(value, "tools") if isinstance(value, str) else value
    return tuple(_tool(tool) for tool in (value if isinstance(value, (list, tuple)) else [value]))


def _tool(tool: Any) -> dict[str, Any]:
    tool = _from_json(tool, "tools") if isinstance(tool, str) else tool
    wrapped = isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping)
    function = tool["function"] if wrapped else tool
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise DataError("bad_row", "'tools' must be a list of objects, each with the name of a function")
    whole = {"type": "function", **tool} if wrapped else {"type": "function", "function": function}
    return _without_nulls(as_json(whole))


def calls_of(message: Mapping[str, Any], number: int) -> tuple[ToolCall, ...]:
    """The calls in ``tool_calls`` of a message, or in its ``function_call`` of the older form.

    Raises:
        DataError: ``bad_row``: one has no name, or arguments that are no object.
    """
    given = known(message.get("tool_calls"))
    if is_empty(given):
        given = known(message.get("function_call"))
    if is_empty(given):
        return ()
    given = _from_json(given, f"message {number}: tool_calls") if isinstance(given, str) else given
    return tuple(_call(call, number) for call in (given if isinstance(given, (list, tuple)) else [given]))


def written_calls(text: Any, number: int) -> tuple[ToolCall, ...]:
    """The calls that a message of a role of calls writes as JSON: an object, or a list of them.

    Raises:
        DataError: ``bad_row``: it is none.
    """
    if not isinstance(text, str):
        raise DataError("bad_row", f"message {number}: a call must be a text of JSON")
    given = _from_json(text, f"message {number}: a call")
    return tuple(_call(call, number) for call in (given if isinstance(given, list) and given else [given]))


def _call(call: Any, number: int) -> ToolCall:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise DataError("bad_row", f"message {number}: a call names no function")
    arguments = known(function.get("arguments"))
    if isinstance(arguments, str) and arguments.strip():
        arguments = _from_json(arguments, f"message {number}: the arguments of '{function['name']}'")
    if is_empty(arguments):
        arguments = {}
    if not isinstance(arguments, Mapping):
        raise DataError("bad_row", f"message {number}: the arguments of '{function['name']}' are no object")
    return ToolCall(name=function["name"], arguments=as_json(arguments))


def _without_nulls(tool: Any) -> Any:
    """Without the keys that tables of one type for all rows add to every object."""
    if isinstance(tool, dict):
        return {key: _without_nulls(value) for key, value in tool.items() if value is not None}
    return [_without_nulls(value) for value in tool] if isinstance(tool, list) else tool


def _from_json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError("bad_row", f"{what}: no JSON ({error})") from None
