"""A study in one sample: several views, modalities or volumes, each named before its images."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from infimed_core import DataError, Media, Turn
from infimed_plugins.readers.conversation import Place, conversation
from infimed_plugins.readers.fields import history_of
from infimed_plugins.readers.values import known, says_nothing, text_of

_NUMBERED = re.compile(r"(?:im|img|image|slice|file|i|e|z|ct|mr)?[-_ ]?[0-9][0-9.\-_]*", re.IGNORECASE)

View = tuple[str, Sequence[Media]]
"""A name for people, and the images that it is the name of."""


def question_about(
    views: Sequence[View],
    question: Any,
    answer: Any,
    place: Place,
    system: Any = None,
    history: Any = None,
    ignore: Collection[str] = (),
    objects: Any = None,
) -> tuple[tuple[Turn, ...], tuple[Media, ...]]:
    """Turns of a question about a study, and of its answer (``None``: none).

    Raises:
        DataError: ``empty_text``, ``missing_media`` (no view at all), or as ``conversation``.
    """
    media = [medium for _, own in views for medium in own]
    if not media:
        raise DataError("missing_media", "none of its views is there")
    parts: list[dict[str, Any]] = []
    for name, own in views:
        parts += [
            {"type": "text", "text": f"{name}: "},
            *({"type": "image"} for _ in own),
            {"type": "text", "text": "\n"},
        ]
    if known(question) is not None:
        parts.append(_text(text_of(question, "question")))
    else:
        parts.pop()
    messages = [*history_of(history), {"role": "user", "content": parts}]
    if answer is not None:
        text = text_of(answer, "answer")
        if says_nothing(text):
            raise DataError("empty_text", "the answer is empty")
        messages.append({"role": "assistant", "content": text})
    return conversation(messages, media, place, system, ignore, objects)


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def says_something(name: str) -> bool:
    """Whether a file's name is one for people (``t1``, ``lateral``), and no number or UID (``IM0001``, ``1.2.840``)."""
    return not _NUMBERED.fullmatch(name) and any(sign.isalpha() for sign in name)
