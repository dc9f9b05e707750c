"""Turns from the conversation layouts of the field: LLaVA, ShareGPT and chat messages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any

from infimed_core import DataError, Media, Turn
from infimed_plugins.readers.files import kind_of

IMAGE_MARK = "<image>"

ROLES = {
    "human": "user", "user": "user", "question": "user",
    "gpt": "assistant", "assistant": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant",
    "system": "system",
}  # fmt: skip

Place = Callable[[str], Media]
"""Makes a medium of a path that a row names."""


def conversation(
    messages: Any, media: Sequence[Media], place: Place, system: Any = None
) -> tuple[tuple[Turn, ...], tuple[Media, ...]]:
    """Turns and media of a list of messages, ``<image>`` marks replaced by media indices where they stand.

    A message is ``{from, value}`` or ``{role, content}``; content is a text, or a list of parts as chat interfaces
    take them (``text``, ``image``, ``image_url``). Where no mark stands anywhere, all images go before the first
    user text. A conversation may end with either role.

    Raises:
        DataError: ``bad_row`` (an unknown role ...) or ``image_count`` (marks and images do not match).
    """
    if not isinstance(messages, list) or not messages:
        raise DataError("bad_row", "the conversation must be a list of at least one message")
    found = list(media)
    num_named = len(found)
    turns: list[tuple[str, list[str | int]]] = []
    if isinstance(system, str) and system.strip():
        turns.append(("system", [system]))
    num_marks = 0
    has_parts = False
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise DataError("bad_row", f"message {number} must be an object with from/value or role/content")
        role, content = _role(message, number), _content(message, number)
        pieces: list[str | int] = []
        for part in content if isinstance(content, list) else [content]:
            if isinstance(part, str):
                texts = part.split(IMAGE_MARK)
                for position, text in enumerate(texts):
                    if position:
                        pieces.append(num_marks)
                        num_marks += 1
                    if text:
                        pieces.append(text)
                continue
            part_media = _part(part, number, place)
            if isinstance(part_media, str):
                pieces.append(part_media)
            elif part_media is None:  # an image part without a source takes the next image of the row, like a mark
                pieces.append(num_marks)
                num_marks += 1
            else:
                has_parts = True
                pieces.append(len(found))
                found.append(part_media)
        turns.append((role, pieces))
    if num_marks == 0 and num_named and not has_parts:
        first = next((pieces for role, pieces in turns if role == "user"), None)
        if first is None:
            raise DataError("image_count", f"{num_named} image(s), but no user message to show them in")
        first[:0] = list(range(num_named))
    elif num_marks != num_named:
        raise DataError("image_count", f"{num_marks} {IMAGE_MARK} mark(s) for {num_named} image(s); make them equal")
    return tuple(Turn(role=role, content=tuple(pieces)) for role, pieces in turns), tuple(found)


def question_and_answer(
    question: Any, answer: Any, media: Sequence[Media], place: Place, system: Any = None
) -> tuple[tuple[Turn, ...], tuple[Media, ...]]:
    """Turns of a question (``None``: images alone, as for a caption) and its answer (``None``: none)."""
    messages: list[dict[str, Any]] = []
    if question is not None or media:
        messages.append({"role": "user", "content": _text(question, "question")})
    if answer is not None:
        text = _text(answer, "answer")
        if not text.strip():
            raise DataError("empty_text", "the answer is empty")
        messages.append({"role": "assistant", "content": text})
    return conversation(messages, media, place, system)


def image_list(value: Any) -> list[Any]:
    """A row's images as a list: none, one or several, each a path, bytes or ``{bytes, path}``."""
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def medium_of(value: Any, place: Place) -> Media:
    """One image: a path, a data URI, bytes, or the ``{bytes, path}`` that Hugging Face datasets store."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Media(data=bytes(value))
    if isinstance(value, dict):
        if value.get("bytes") is not None:
            name = value.get("path")
            kind = kind_of(name) if isinstance(name, str) and name else "image"
            return Media(kind=kind, data=bytes(value["bytes"]))
        value = value.get("path") or value.get("url") or value.get("uri")
    if not isinstance(value, str) or not value:
        raise DataError("bad_row", f"an image must be a path or bytes, not {type(value).__name__}")
    if value.startswith("data:"):
        head, _, body = value.partition(",")
        if not head.endswith(";base64"):
            raise DataError("bad_row", "a data URI must be base64")
        try:
            return Media(data=base64.b64decode(body, validate=True))
        except binascii.Error as error:
            raise DataError("bad_row", f"a data URI that is not base64 ({error})") from None
    if "://" in value:
        if value.startswith("file://"):
            return place(value.removeprefix("file://"))
        raise DataError("remote_media", f"'{value[:80]}' is no local file; download it and name the file")
    return place(value)


def _role(message: dict[str, Any], number: int) -> Any:
    name = message.get("from", message.get("role"))
    role = ROLES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        raise DataError("bad_row", f"message {number} has the role {name!r}; known: {', '.join(ROLES)}")
    return role


def _content(message: dict[str, Any], number: int) -> Any:
    content = message.get("value", message.get("content"))
    if not isinstance(content, (str, list)):
        raise DataError("bad_row", f"message {number} has no text (value or content)")
    return content


def _part(part: Any, number: int, place: Place) -> str | Media | None:
    """One part of a chat message: its text, its image, or ``None`` for an image that the row names elsewhere."""
    if not isinstance(part, dict):
        raise DataError("bad_row", f"message {number} has a part that is neither text nor object")
    kind = part.get("type")
    if kind == "text" or (kind is None and isinstance(part.get("text"), str)):
        return _text(part.get("text"), "part")
    if kind not in ("image", "image_url"):
        raise DataError("bad_row", f"message {number} has a part of type {kind!r}; known: text, image, image_url")
    source = part.get("image", part.get("image_url", part.get("path", part.get("url"))))
    return None if source is None else medium_of(source, place)


def _text(value: Any, what: str) -> str:
    if value is None:
        return ""
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        raise DataError("bad_row", f"the {what} must be text, not {type(value).__name__}")
    return value
