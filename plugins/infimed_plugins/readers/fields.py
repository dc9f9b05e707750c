"""What the field's training formats say of a row beside its turns: honoured, or refused by name, never dropped."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from infimed_core import DataError
from infimed_plugins.readers.values import is_empty, known

REFUSED = {
    "video": "videos are not read", "videos": "videos are not read",
    "audio": "sounds are not read", "audios": "sounds are not read",
    "objects": "boxes and references are not put into a family's own form",
    "tools": "tools are not put into the prompt",
    "chosen": "pairs of answers are not trained", "rejected": "pairs of answers are not trained",
    "rejected_response": "pairs of answers are not trained", "rejected_messages": "pairs of answers are not trained",
    "rejected_images": "pairs of answers are not trained", "positive_messages": "pairs of texts are not trained",
    "negative_messages": "pairs of texts are not trained",
}  # fmt: skip
"""Fields that say how a row is trained or shown, and why a row that has one is none for us."""
STRUCTURED = ("objects", "tools")
"""Of these, those that are meant only where they hold lists or maps, or a text of JSON."""
LABELS = ("label", "kto_tag")
"""Whether the answer is a good one (KTO)."""
MESSAGE = {
    "tool_calls": "tools are not called", "function_call": "tools are not called",
    "tool_call_id": "tools are not called", "reasoning_content": "a thought beside its answer is not read",
    "reasoning": "a thought beside its answer is not read", "thinking": "a thought beside its answer is not read",
    "loss_scale": "a turn carries its loss whole or not at all", "images": "images stand beside the messages",
    "videos": "videos are not read", "audio": "sounds are not read", "audios": "sounds are not read",
}  # fmt: skip
"""The same of one message."""
MARKS = {
    "<video>": "videos are not read", "<audio>": "sounds are not read",
    "<bbox>": "it stands for a box, and the row's boxes are not read",
    "<ref-object>": "it stands for a name, and the row's names are not read",
}  # fmt: skip
"""Marks that stand for something else, and are no text to train on."""
TOOL_ROLES = frozenset({"tool", "tool_call", "tool_response", "function", "function_call", "observation"})


def refuse(row: Mapping[str, Any], ignore: Collection[str] = ()) -> None:
    """Look for fields that are known and not honoured.

    Raises:
        DataError: ``unsupported_field``, naming the field and what it would have said; ``bad_answer``: the row itself
            says that its answer is not a good one.
    """
    for name, reason in REFUSED.items():
        if name not in row or name in ignore or is_empty(row[name]):
            continue
        if name not in STRUCTURED or not _is_prose(row[name]):
            raise unsupported(name, reason)
    for name in LABELS:
        if name in row and name not in ignore and _is_false(row[name]):
            raise DataError("bad_answer", f"'{name}' is false: the answer is a bad example, and is not trained")


def refuse_in_message(message: Mapping[str, Any], number: int) -> None:
    """The same of one message."""
    for name, reason in MESSAGE.items():
        if name in message and not is_empty(message[name]):
            raise unsupported(name, f"message {number}: {reason}")


def refuse_marks(text: str, ignore: Collection[str] = ()) -> None:
    """Look for marks that stand for a medium or a box, and are nothing to be learned as they are."""
    for mark, reason in MARKS.items():
        if mark in text and mark not in ignore:
            raise DataError("unsupported_field", f"the text holds the mark {mark}: {reason}")


def unsupported(name: str, reason: str) -> DataError:
    """The fault of a field that is known and not honoured."""
    return DataError(
        "unsupported_field", f"'{name}': {reason}; leave the row out, or set ignore: [{name}] to read it without"
    )


def history_of(value: Any) -> list[dict[str, Any]]:
    """Alpaca's ``history`` as messages: pairs of a question and its answer, the earliest first.

    A text is no such thing (a patient's history, in a column of that name).

    Raises:
        DataError: ``bad_row``: it is something else.
    """
    value = known(value)
    if _is_prose(value):
        return []
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError:
            raise DataError("bad_row", "history must be a list of [question, answer]") from None
    if is_empty(value):
        return []
    messages = []
    for pair in value if isinstance(value, (list, tuple)) else [value]:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise DataError("bad_row", "history must be a list of [question, answer]")
        messages += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    return messages


def carries_loss(message: Mapping[str, Any], number: int, role: str) -> bool:
    """Whether an answer is trained on: ``loss`` of ms-swift, ``weight`` of others; yes where neither is said.

    Raises:
        DataError: ``unsupported_field``: it is more than yes or no, or said of a turn that is no answer.
    """
    for name in ("loss", "weight"):
        value = known(message.get(name))
        if value is None:
            continue
        if value not in (0, 1):
            raise unsupported(name, f"message {number}: {value!r}; a turn carries its loss whole or not at all")
        if role != "assistant" and value and name == "loss":
            raise unsupported(name, f"message {number}: the answers alone carry loss, not a turn of the {role}")
        if not value:
            return False
    return True


def _is_prose(value: Any) -> bool:
    return isinstance(value, str) and value.strip()[:1] not in ("[", "{")


def _is_false(value: Any) -> bool:
    return value is False or (isinstance(value, str) and value.strip().lower() == "false")
