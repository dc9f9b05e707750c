"""Turns as messages of chat templates, cut into the texts that a rendering is searched for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infimed_core import Turn

_THOUGHT_MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)
"""What opens and closes a thought in the templates of Qwen3, GLM and DeepSeek; others; Seed; Mistral; Cohere."""
_THOUGHTS = tuple(
    re.compile(rf"(\s*(?:{re.escape(opens)})?\s*)(.*?)(\s*{re.escape(closes)}\s*)(.*)", re.DOTALL)
    for opens, closes in _THOUGHT_MARKS
)


def parts_of(turn: Turn) -> list[str | int]:
    """The turn's content with neighbouring texts joined; an assistant turn that calls no tool always has a text."""
    parts: list[str | int] = []
    for part in turn.content:
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        elif part != "":
            parts.append(part)
    silent = not any(isinstance(part, str) for part in parts) and not turn.tool_calls
    if silent and (turn.role == "assistant" or not parts):
        parts.append("")
    return parts


@dataclass(frozen=True)
class Piece:
    """A text of a turn as it is marked: ``frame`` is what stays literal around its thought and its answer."""

    frame: str
    answer: str
    thought: str | None = None

    @property
    def closes_thought(self) -> bool:
        """Whether the text holds what closes a thought."""
        return any(closes in self.answer for _, closes in _THOUGHT_MARKS)

    @property
    def texts(self) -> tuple[str, ...]:
        """What is marked, in order; an empty thought is part of the frame."""
        return (self.thought, self.answer) if self.thought else (self.answer,)


def pieces_of(turns: Sequence[Turn], contents: list[list[str | int]], split_thoughts: bool) -> list[Piece]:
    """The texts of the turns in order, and the names of the tools that they call, each with what stays around it."""
    pieces = []
    for turn, parts in zip(turns, contents, strict=True):
        for part in parts:
            if isinstance(part, str):
                own = turn.role == "assistant" and split_thoughts
                found = next((match for pattern in _THOUGHTS if own and (match := pattern.fullmatch(part))), None)
                if found is None:
                    pieces.append(Piece("{}", part))
                    continue
                opens, thought, closes, _ = (group.replace("{", "{{").replace("}", "}}") for group in found.groups())
                frame = f"{opens}{{}}{closes}{{}}" if thought else f"{opens}{closes}{{}}"
                pieces.append(Piece(frame, found.group(4), found.group(2)))
        pieces += [Piece("{}", call.name) for call in turn.tool_calls]
    return pieces


def messages_of(turns: Sequence[Turn], contents: list[list[str | int]]) -> list[dict[str, Any]]:
    """The conversation as transformers' templates take it."""
    messages = []
    for turn, parts in zip(turns, contents, strict=True):
        content: list[dict[str, Any]] = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in parts
        ]
        alone = len(content) == 1 and content[0]["type"] == "text"
        message = {"role": turn.role, "content": content[0]["text"] if alone else content or ""}
        if turn.tool_calls:
            calls = (call.model_dump(mode="json") for call in turn.tool_calls)
            message["tool_calls"] = [{"type": "function", "function": call} for call in calls]
        messages.append(message)
    return messages
