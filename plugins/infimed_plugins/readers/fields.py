"""What the field's training formats say of a row beside its turns: honoured, or refused by name, never dropped."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from infimed_core import DataError
from infimed_plugins.readers.values import is_empty, known

PAIRS = "the reader preference-pairs reads pairs of answers, for a stage with the objective dpo or kto"
REFUSED = {
    "video": "videos are not read", "videos": "videos are not read",
    "audio": "sounds are not read", "audios": "sounds are not read",
    **dict.fromkeys(("chosen", "rejected", "rejected_response", "rejected_messages"), PAIRS),
    "rejected_images": "answers to different images are no pair", "positive_messages": "pairs of texts are not trained",
    "negative_messages": "pairs of texts are not trained",
}  # fmt: skip
"""Fields that say how a row is trained or shown, and why a row that has one is none for us."""
STRUCTURED = ("objects", "tools")
"""Fields that are honoured where they hold lists or maps, or a text of JSON; prose in them is a column like others."""
LABELS = ("label", "kto_tag")
"""Whether the answer is a good one (KTO)."""
FLAGS = ("loss", "train", "trainable", "supervised")
"""Whether an answer, or all of a row, is trained on."""
WEIGHTS = ("weight", "loss_weight", "sample_weight", "loss_scale")
"""How much of it; in a table ``weight`` is a person's more often."""
MESSAGE = {
    "reasoning_content": "a thought beside its answer is not read",
    "reasoning": "a thought beside its answer is not read", "thinking": "a thought beside its answer is not read",
    **dict.fromkeys(
        ("loss_scale", "loss_weight", "loss_mask", "train_detail"), "a turn carries its loss whole or not at all"
    ),
    "images": "images stand beside the messages",
    "videos": "videos are not read", "audio": "sounds are not read", "audios": "sounds are not read",
}  # fmt: skip
"""The same of one message."""
_ANSWERED = (*FLAGS, "weight", "mask")
"""Fields of a message that say whether it is trained on."""
_OF_LOSS = re.compile(
    r"(?:^|_)(?:loss|mask(?:ed)?|train(?:able|ed|ing)?|weights?|supervised?|learn)(?:$|_)", re.IGNORECASE
)
"""Names of fields that may say it too."""
MARKS = {
    "<video>": "videos are not read", "<audio>": "sounds are not read",
    "<bbox>": "it stands for a box, and the row lists none in 'objects'",
    "<ref-object>": "it stands for a name, and the row lists none in 'objects'",
    **dict.fromkeys(
        ("<IMAGE>", "<Image>", "<img>", "<ImageHere>", "<image_placeholder>", "<image_soft_token>", "<start_of_image>",
         "<IMG_CONTEXT>", "<|image_pad|>", "<|image|>"),
        "it stands for an image in another family's form; write <image>",
    ),
}  # fmt: skip
"""Marks that stand for something else, and are no text to train on."""


def refuse(row: Mapping[str, Any], ignore: Collection[str] = ()) -> None:
    """Look for fields that are known and not honoured.

    Raises:
        DataError: ``unsupported_field``, naming the field and what it would have said; ``bad_answer``: the row itself
            says that its answer is not a good one.
    """
    for name, reason in REFUSED.items():
        if name not in row or name in ignore or is_empty(row[name]):
            continue
        raise unsupported(name, reason)
    for name in (*FLAGS, *WEIGHTS):
        if name in row and name not in ignore and (_is_off(row[name]) or (name in WEIGHTS and _is_part(row[name]))):
            raise unsupported(name, "a row is trained on whole, and this one says not to")
    for name in LABELS:
        if name not in row or name in ignore or known(row[name]) is None:
            continue
        coded = name == "kto_tag" or {"prompt", "completion"} <= row.keys()  # else 0 may be the first class of some
        if _is_false(row[name]) or (coded and _is_off(row[name])):
            raise DataError("bad_answer", f"'{name}' is false: the answer is a bad example, and is not trained")


def structured(row: Mapping[str, Any], name: str, ignore: Collection[str] = ()) -> Any:
    """What one of ``STRUCTURED`` holds; ``None`` where it says nothing, is prose, or is left out on purpose."""
    value = None if name in ignore else known(row.get(name))
    return None if is_prose(value) or is_empty(value) else value


def refuse_in_message(message: Mapping[str, Any], number: int) -> None:
    """The same of one message."""
    for name, value in message.items():
        reason = MESSAGE.get(name)
        if reason is None and name not in _ANSWERED and _OF_LOSS.search(str(name)):
            reason = "it seems to say how the turn is trained, in a form that is not known here"
        if reason and not is_empty(value):
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
    if is_prose(value):
        return []
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
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
    """Whether an answer is trained on, by one of ``FLAGS``, ``weight`` or ``mask``; yes where none is said.

    Raises:
        DataError: ``unsupported_field``: it is more than yes or no, or said of a turn that is no answer.
    """
    for name in _ANSWERED:
        value = known(message.get(name))
        if value is None:
            continue
        if value not in (0, 1):
            raise unsupported(name, f"message {number}: {value!r}; a turn carries its loss whole or not at all")
        if role != "assistant" and value and name in FLAGS:
            raise unsupported(name, f"message {number}: the answers alone carry loss, not a turn of the {role}")
        if bool(value) is (name == "mask"):
            return False
    return True


def is_prose(value: Any) -> bool:
    """Whether a field that is usually a list or an object is a text of words."""
    return isinstance(value, str) and value.strip()[:1] not in ("[", "{")


def _is_false(value: Any) -> bool:
    return value is False or (isinstance(value, str) and value.strip().lower() == "false")


def _is_off(value: Any) -> bool:
    """Whether a flag says no, as it stands in JSON, in a table or as a program wrote it for a number."""
    return _is_false(value) or _number(value) == 0


def _is_part(value: Any) -> bool:
    number = _number(value)
    return number is not None and 0 < number < 1


def _number(value: Any) -> float | None:
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]+(\.[0-9]*)?\s*", value):
        return float(value)
    return float(value) if isinstance(value, (int, float)) and value == value else None
