"""Turns from the conversation layouts of the field: LLaVA, ShareGPT, Alpaca and chat messages."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infimed_core import DataError, Media, Region, ToolCall, Turn
from infimed_plugins.readers.fields import carries_loss, history_of, refuse_in_message, refuse_marks
from infimed_plugins.readers.places import PICTURE, kind_of_bytes, picture_of
from infimed_plugins.readers.regions import BOX, NAME, Objects
from infimed_plugins.readers.tools import CALL_ROLES, RESULT_ROLES, calls_of, written_calls
from infimed_plugins.readers.values import known, listed, says_nothing, text_of

IMAGE_MARK = "<image>"

ROLES = {
    "human": "user", "user": "user", "question": "user",
    "gpt": "assistant", "assistant": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant",
    "system": "system",
    **dict.fromkeys(CALL_ROLES, "assistant"), **dict.fromkeys(RESULT_ROLES, "tool"),
}  # fmt: skip

_MARKS = re.compile("<image(?:[ _]?([1-9][0-9]?))?>")
"""The mark of an image, or of the one that it numbers."""
SHORTEST_BASE64 = 64
"""Signs of a text that may hold an image; what is shorter is a name."""
_BASE64 = re.compile(r"[A-Za-z0-9+/=]+")

Place = Callable[[str], Media]
"""Makes a medium of a path that a row names."""


def conversation(
    messages: Any,
    media: Sequence[Media],
    place: Place,
    system: Any = None,
    ignore: Collection[str] = (),
    objects: Any = None,
) -> tuple[tuple[Turn, ...], tuple[Media, ...]]:
    """Turns and media of a list of messages, ``<image>`` marks replaced by media indices where they stand.

    A message is ``{from, value}`` or ``{role, content}``; content is a text, or a list of parts as chat interfaces
    take them (``text``, ``image``, ``image_url``). Where no mark stands anywhere, all images go before the first
    user text. A conversation may end with either role. An answer with ``loss: false`` is shown and not trained on.
    What is said and called after one another is one turn of the assistant. ``objects`` are the names and boxes that
    ``<ref-object>`` and ``<bbox>`` stand for.

    Raises:
        DataError: ``bad_row`` (an unknown role ...), ``image_count`` (marks and images do not match),
            ``image_in_answer``, ``unsupported_field`` or ``nothing_to_learn`` (no answer carries loss).
    """
    messages = _parsed(messages)
    if not isinstance(messages, list) or not messages:
        raise DataError("bad_row", "the conversation must be a list of at least one message")
    reader = _Reader(media, place, ignore, objects)
    if (text := text_of(system, "system prompt")).strip():
        reader.turns.append(_Message("system", [text]))
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise DataError("bad_row", f"message {number} must be an object with from/value or role/content")
        reader.add(message, number)
    return reader.finish()


@dataclass
class _Message:
    """A turn that is being collected; ``marks`` are the names, and the numbers of boxes, that its marks stand for."""

    role: str
    pieces: list[str | int]
    supervised: bool = True
    calls: tuple[ToolCall, ...] = ()
    marks: list[tuple[str | None, int | None]] = field(default_factory=list)


class _Reader:
    """Collects turns, and counts the marks that stand for the images that the row names."""

    def __init__(self, media: Sequence[Media], place: Place, ignore: Collection[str], objects: Any) -> None:
        self.turns: list[_Message] = []
        self._media, self._num_named = list(media), len(media)
        self._objects = Objects(objects)
        self._has_objects = objects is not None
        self._place, self._ignore = place, (*ignore, BOX, NAME) if self._has_objects else ignore
        self._num_marks, self._has_parts = 0, False
        self._shown: list[int] = []
        self._numbered: set[bool] = set()

    def add(self, message: dict[str, Any], number: int) -> None:
        role, said = _role(message, number)
        refuse_in_message(message, number)
        turn = _Message(role, [], carries_loss(message, number, role))
        if said in CALL_ROLES:
            turn.calls = written_calls(message.get("value", message.get("content")), number)
        else:
            turn.calls = calls_of(message, number)
            content = _content(message, number, bool(turn.calls))
            for part in content if isinstance(content, list) else [content]:
                self._add_part(turn, part, number)
        if turn.calls and role != "assistant":
            raise DataError("bad_row", f"message {number}: a call of a tool in a turn of the {role}")
        if role == "assistant" and any(isinstance(piece, int) for piece in turn.pieces):
            raise DataError("image_in_answer", f"message {number}: an answer is text; an image cannot be learned")
        if role == "tool" and not any(other.role == "assistant" for other in self.turns):
            raise DataError("bad_row", f"message {number}: what a tool gave back, before any turn of the assistant")
        last = self.turns[-1] if self.turns else None
        if last is not None and role == last.role == "assistant" and said in CALL_ROLES:
            if last.supervised != turn.supervised:
                raise DataError("bad_row", f"message {number}: a call carries loss, what it follows does not, or so")
            last.calls += turn.calls
        else:
            self.turns.append(turn)

    def _add_part(self, turn: _Message, part: Any, number: int) -> None:
        medium = part if isinstance(part, str) else _part(part, number, self._place)
        if isinstance(medium, str):
            refuse_marks(medium, self._ignore)
            if self._has_objects:
                turn.marks += self._objects.take(medium)
            # the texts between marks, and between them the number that each mark says (None: it says none)
            pieces = _MARKS.split(medium) if isinstance(part, str) else [medium]
            for position, text in enumerate(pieces):
                if position % 2:
                    self._add_mark(turn, int(text) if text else None)
                elif text:
                    turn.pieces.append(text)
        elif medium is None:  # an image part without a source takes the next image of the row, like a mark
            self._add_mark(turn)
        else:
            self._has_parts = True
            turn.pieces.append(len(self._media))
            self._media.append(medium)

    def _add_mark(self, turn: _Message, number: int | None = None) -> None:
        """An image stands here: the next of the row, or the one that the mark numbers (from 1)."""
        self._numbered.add(number is not None)
        shown = self._num_marks if number is None else number - 1
        turn.pieces.append(shown)
        self._shown.append(shown)
        self._num_marks += 1

    def finish(self) -> tuple[tuple[Turn, ...], tuple[Media, ...]]:
        if self._num_marks == 0 and self._num_named and not self._has_parts:
            first = next((turn.pieces for turn in self.turns if turn.role == "user"), None)
            if first is None:
                raise DataError("image_count", f"{self._num_named} image(s), but no user message to show them in")
            first[:0] = list(range(self._num_named))
        elif self._num_marks != self._num_named:
            told = f"{self._num_marks} {IMAGE_MARK} mark(s) for {self._num_named} image(s); make them equal"
            raise DataError("image_count", told)
        elif len(self._numbered) > 1 or sorted(self._shown) != list(range(self._num_named)):
            told = f"numbered marks must name each of the {self._num_named} image(s) once: <image 1>, <image 2> ..."
            raise DataError("image_count", told)
        answers = [turn.supervised for turn in self.turns if turn.role == "assistant"]
        if answers and not any(answers):
            raise DataError("nothing_to_learn", "no answer of the conversation carries loss")
        self._objects.check_all_taken()
        media, boxes = self._objects.placed(self._media)
        turns = tuple(
            Turn(
                role=turn.role,  # type: ignore[arg-type]
                content=tuple(turn.pieces),
                supervised=turn.supervised,
                tool_calls=turn.calls,
                regions=tuple(Region(name=name) if box is None else boxes[box] for name, box in turn.marks),
            )
            for turn in self.turns
        )
        return turns, tuple(media)


def question_and_answer(
    question: Any,
    answer: Any,
    media: Sequence[Media],
    place: Place,
    system: Any = None,
    history: Any = None,
    ignore: Collection[str] = (),
    objects: Any = None,
) -> tuple[tuple[Turn, ...], tuple[Media, ...]]:
    """Turns of a question (``None``: images alone, as for a caption) and its answer (``None``: none).

    ``history`` holds the pairs that came before, as Alpaca's rows have them.

    Raises:
        DataError: ``empty_text``: the answer is empty or missing in its cell; or as ``conversation``.
    """
    messages = history_of(history)
    asked = text_of(question, "question")
    if media or not says_nothing(asked):
        messages.append({"role": "user", "content": "" if says_nothing(asked) else asked})
    if answer is not None:
        text = text_of(answer, "answer")
        if says_nothing(text):
            raise DataError("empty_text", "the answer is empty")
        messages.append({"role": "assistant", "content": text})
    return conversation(messages, media, place, system, ignore, objects)


def image_list(value: Any) -> list[Any]:
    """A row's images as a list: none, one or several, each a path, bytes or ``{bytes, path}``.

    Raises:
        DataError: ``missing_media``: one of several is null; those behind it would take its place.
    """
    if isinstance(value, str) and value.lstrip()[:1] == "[" and value.rstrip()[-1:] == "]":
        value = listed(value) or value
    value = picture_of(value) or value if isinstance(value, (list, tuple)) else value
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    there = [not _is_null(item) for item in values]
    if any(there) and not all(there):
        raise DataError("missing_media", f"image {there.index(False) + 1} of {len(values)} is null")
    return values if all(there) else []


def media_of(row: Mapping[str, Any], names: Sequence[str], place: Place) -> list[Media]:
    """The images of several fields, in order; a file that two fields name, or one names and one holds, is one image."""
    found: list[tuple[Any, Media]] = []
    for name in names:
        fresh = [(image, medium_of(image, place)) for image in image_list(row.get(name))]
        found += [one for one in fresh if not any(_is_same(one, other) for other in tuple(found))]
    return [medium for _, medium in found]


def medium_of(value: Any, place: Place) -> Media:
    """One image: a path, a data URI, bytes, or the ``{bytes, path}`` that Hugging Face datasets store."""
    value = known(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Media(kind=kind_of_bytes(bytes(value)), data=bytes(value))
    if isinstance(value, dict):
        if value.get("bytes"):
            name = value.get("path")
            content = bytes(value["bytes"])
            return Media(kind=kind_of_bytes(content, name if isinstance(name, str) else ""), data=content)
        value = value.get("path") or value.get("url") or value.get("uri")
    if not isinstance(value, str) or not value:
        raise DataError("bad_row", f"an image must be a path or bytes, not {type(value).__name__}")
    if value.startswith("data:"):
        head, _, body = value.partition(",")
        if not head.endswith(";base64"):
            raise DataError("bad_row", "a data URI must be base64")
        try:
            content = base64.b64decode("".join(body.split()), validate=True)
        except binascii.Error as error:
            raise DataError("bad_row", f"a data URI that is not base64 ({error})") from None
        if not content:
            raise DataError("bad_row", "a data URI without data")
        return Media(kind=kind_of_bytes(content), data=content)
    if (plain := _base64_image(value)) is not None:
        return Media(kind=kind_of_bytes(plain), data=plain)
    if "://" in value:
        if value.startswith("file://"):
            return place(value.removeprefix("file://"))
        raise DataError("remote_media", f"'{value[:80]}' is no local file; download it and name the file")
    return place(value)


def _base64_image(value: str) -> bytes | None:
    """The image that a text writes in base64, as benchmarks keep theirs in tables; ``None`` where it is a name."""
    if len(value) < SHORTEST_BASE64 or not _BASE64.fullmatch(value[:SHORTEST_BASE64]):
        return None
    try:
        content = base64.b64decode("".join(value.split()), validate=True)
    except binascii.Error:
        return None
    return content if PICTURE.match(content) else None


def _is_same(one: tuple[Any, Media], other: tuple[Any, Media]) -> bool:
    """Whether two fields of a row mean one image: one place, one content, or content that came from that name."""
    if (one[1].data is None) == (other[1].data is None):
        return (one[1].uri, one[1].data) == (other[1].uri, other[1].data)
    names = [image.get("path") if isinstance(image, dict) else medium.uri for image, medium in (one, other)]
    return all(names) and len({os.path.basename(str(name)) for name in names}) == 1


def _is_null(value: Any) -> bool:
    """Whether a cell names no image: null, NaN, an empty text, or a struct whose every part is null."""
    value = known(value)
    if isinstance(value, dict):
        return not any(value.get(name) for name in ("bytes", "path", "url", "uri"))
    return value is None or (isinstance(value, (str, bytes)) and not value)


def _parsed(messages: Any) -> Any:
    """A conversation that stands in a cell as a text of JSON."""
    if isinstance(messages, str) and messages.lstrip()[:1] == "[":
        try:
            return json.loads(messages)
        except (ValueError, RecursionError) as error:
            raise DataError("bad_row", f"the conversation is no JSON: {error}") from None
    return messages


def _role(message: dict[str, Any], number: int) -> tuple[str, str]:
    """Our name of a message's role, and its own."""
    name = message.get("from", message.get("role"))
    role = ROLES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        raise DataError("bad_row", f"message {number} has the role {name!r}; known: {', '.join(ROLES)}")
    return role, str(name).lower()


def _content(message: dict[str, Any], number: int, may_lack: bool) -> Any:
    content = known(message.get("value", message.get("content")))
    if content is None and may_lack:  # a turn that only calls
        return ""
    if not isinstance(content, (str, list)):
        raise DataError("bad_row", f"message {number} has no text (value or content)")
    return content


def _part(part: Any, number: int, place: Place) -> str | Media | None:
    """One part of a chat message: its text, its image, or ``None`` for an image that the row names elsewhere."""
    if not isinstance(part, dict):
        raise DataError("bad_row", f"message {number} has a part that is neither text nor object")
    kind = part.get("type")
    if kind == "text" or (kind is None and isinstance(part.get("text"), str)):
        return text_of(part.get("text"), "part")
    if kind not in ("image", "image_url"):
        raise DataError("bad_row", f"message {number} has a part of type {kind!r}; known: text, image, image_url")
    source = next((part[name] for name in ("image", "image_url", "path", "url") if part.get(name) is not None), None)
    return None if source is None else medium_of(source, place)
