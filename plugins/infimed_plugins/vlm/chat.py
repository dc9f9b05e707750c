"""Conversations to token ids through a checkpoint's own chat template, with what is supervised found exactly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError, Turn

GROUNDING = frozenset(
    {f"<|{name}_{side}|>" for name in ("object_ref", "box", "quad", "point") for side in ("start", "end")}
    | {f"<{sign}{name}>" for name in ("ref", "box", "quad", "point") for sign in ("", "/")}
)
"""Tokens that families write around names and boxes: data to learn, though tokenizers call them special."""
_MARK = re.compile("\ue000([0-9]+)\ue001")


@dataclass(frozen=True)
class _Skeleton:
    """A conversation's rendering with its texts left out: literal, text 0, literal, text 1 ... literal."""

    literals: tuple[str, ...]
    spans: tuple[tuple[int, int, int, int], ...]
    """Of each assistant turn: literal and place in it where supervision starts, literal and place where it ends."""


@dataclass(frozen=True)
class Tokens:
    """Token ids of a rendered conversation with one placeholder per image, and which of them are supervised."""

    ids: NDArray[np.int64]
    supervised: NDArray[np.bool_]


class Chat:
    """Renders and tokenises conversations. ``tokenizer`` is a fast tokenizer of transformers with a chat template."""

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers import Tokenizer, processors

        if not tokenizer.chat_template:
            raise DataError(
                "no_chat_template", f"{tokenizer.name_or_path}: the tokenizer has no chat template; add one"
            )
        self._tokenizer = tokenizer
        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.post_processor = processors.ByteLevel(trim_offsets=False)  # offsets must cover white space
        self._backend.no_truncation()
        self._backend.no_padding()
        added = self._backend.get_added_tokens_decoder().values()
        special = {token.content for token in added if token.special} - GROUNDING
        control = sorted(special, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, control)) or "(?!)")
        self._skeletons: dict[Any, _Skeleton] = {}
        question = [{"role": "user", "content": "\ue0000\ue001"}]
        plain = self._template(question, False)
        asked = self._template(question, True)
        self._header = asked[len(plain) :] if asked.startswith(plain) else ""

    def _template(self, messages: list[dict[str, Any]], generate: bool) -> str:
        from jinja2 import TemplateError

        try:
            return self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
        except (TemplateError, ValueError, LookupError, TypeError) as error:
            raise DataError("template", f"the chat template refuses this conversation: {error}") from error

    def render(self, turns: Sequence[Turn], generate: bool = False) -> tuple[str, list[tuple[int, int]]]:
        """The conversation as the template writes it, and the character spans that are supervised.

        A span runs from the end of the assistant's header to the end of its end-of-turn token, of turns that are
        ``supervised``.
        ``generate`` ends the text with the header of an answer.

        Raises:
            DataError: a text holds a control token, or the template changes texts in a way not understood.
        """
        contents = [_parts(turn) for turn in turns]
        texts = [part for parts in contents for part in parts if isinstance(part, str)]
        for text in texts:
            if found := self._control.search(text):
                raise DataError(
                    "control_token", f"the text holds the control token '{found.group()}'; remove or rewrite it"
                )
        parts = zip(turns, contents, strict=True)
        key = (generate, *((t.role, t.supervised, *(isinstance(p, str) for p in c)) for t, c in parts))
        if key not in self._skeletons:
            self._skeletons[key] = self._make_skeleton(turns, contents, generate)
        skeleton = self._skeletons[key]
        if any(text != text.strip() or "<" in text or "\ue000" in text for text in texts):
            real = self._template(_messages(turns, contents, None), generate)
            texts = _as_written(skeleton, texts, real)
            if real != _fill(skeleton, texts):
                raise DataError(
                    "template", "the chat template rewrites this conversation; its answers cannot be located"
                )
        starts, place = [], 0
        for index, literal in enumerate(skeleton.literals):
            starts.append(place)
            place += len(literal) + (len(texts[index]) if index < len(texts) else 0)
        spans = [(starts[a] + b, starts[c] + d) for a, b, c, d in skeleton.spans]
        return _fill(skeleton, texts), spans

    def _make_skeleton(self, turns: Sequence[Turn], contents: list[list[str | int]], generate: bool) -> _Skeleton:
        marked = self._template(_messages(turns, contents, "\ue000{}\ue001"), generate)
        pieces = _MARK.split(marked)
        literals, order = tuple(pieces[::2]), [int(number) for number in pieces[1::2]]
        if order != list(range(len(order))) or len(order) != sum(isinstance(p, str) for c in contents for p in c):
            raise DataError("template", "the chat template drops or repeats a turn of this conversation")
        spans, text = [], 0
        for turn, parts in zip(turns, contents, strict=True):
            first, text = text, text + sum(isinstance(part, str) for part in parts)
            if turn.role == "assistant" and turn.supervised:
                before, after = literals[first], literals[text]
                header = before.rfind(self._header) if self._header else -1
                start = header + len(self._header) if header >= 0 else len(before)
                end = self._control.match(after)
                spans.append((first, start, text, end.end() if end else 0))
        return _Skeleton(literals, tuple(spans))

    def tokenize(self, conversations: Sequence[Sequence[Turn]], generate: bool = False) -> list[Tokens]:
        """Token ids of each conversation: exactly those of its whole rendered text."""
        return self.tokenize_rendered([self.render(turns, generate) for turns in conversations])

    def tokenize_rendered(self, rendered: Sequence[tuple[str, list[tuple[int, int]]]]) -> list[Tokens]:
        """The same for what ``render`` returned."""
        encodings = self._backend.encode_batch([text for text, _ in rendered], add_special_tokens=False)
        result = []
        for encoding, (_, spans) in zip(encodings, rendered, strict=True):
            ids = np.array(encoding.ids, dtype=np.int64)
            supervised = np.zeros(len(ids), dtype=np.bool_)
            if spans:
                starts = np.fromiter((start for start, _ in encoding.offsets), dtype=np.int64, count=len(ids))
                for start, stop in spans:
                    supervised |= (starts >= start) & (starts < stop)
            result.append(Tokens(ids, supervised))
        return result


def _parts(turn: Turn) -> list[str | int]:
    """The turn's content with neighbouring texts joined; an assistant turn always has a text."""
    parts: list[str | int] = []
    for part in turn.content:
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        elif part != "":
            parts.append(part)
    if not any(isinstance(part, str) for part in parts) and (turn.role == "assistant" or not parts):
        parts.append("")
    return parts


def _messages(turns: Sequence[Turn], contents: list[list[str | int]], mark: str | None) -> list[dict[str, Any]]:
    """The conversation as transformers' templates take it; with ``mark`` texts are replaced by their number."""
    messages, number = [], 0
    for turn, parts in zip(turns, contents, strict=True):
        content: list[dict[str, Any]] = []
        for part in parts:
            if isinstance(part, str):
                content.append({"type": "text", "text": mark.format(number) if mark else part})
                number += 1
            else:
                content.append({"type": "image"})
        alone = len(content) == 1 and content[0]["type"] == "text"
        messages.append({"role": turn.role, "content": content[0]["text"] if alone else content})
    return messages


def _fill(skeleton: _Skeleton, texts: Sequence[str]) -> str:
    pieces = [skeleton.literals[0]]
    for text, literal in zip(texts, skeleton.literals[1:], strict=True):
        pieces += [text, literal]
    return "".join(pieces)


def _as_written(skeleton: _Skeleton, texts: Sequence[str], real: str) -> list[str]:
    """The texts as the template wrote them: as they are, or without white space around them (each may differ)."""
    written, place = [], len(skeleton.literals[0])
    for text, literal in zip(texts, skeleton.literals[1:], strict=True):
        whole = real.startswith(text + literal, place)
        written.append(text if whole else text.strip())
        place += len(written[-1]) + len(literal)
    return written
