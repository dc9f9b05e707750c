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
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
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


@dataclass(frozen=True)
class _Skeleton:
    """A conversation's rendering with its texts left out: literal, text 0, literal, text 1 ... literal."""

    literals: tuple[str, ...]
    kept: tuple[int, ...]
    """Numbers of the texts that the template writes: it may leave out the thoughts of earlier turns."""
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
        plain = _pieces(turns, contents, split_thoughts=False)
        if not any(piece.closes_thought for piece in plain):
            return self._rendered(turns, contents, plain, generate)
        try:
            return self._rendered(turns, contents, plain, generate)
        except DataError:
            # A template that knows thoughts writes them in its own way, and may drop those of earlier turns.
            return self._rendered(turns, contents, _pieces(turns, contents, split_thoughts=True), generate)

    def _rendered(
        self, turns: Sequence[Turn], contents: list[list[str | int]], pieces: list[_Piece], generate: bool
    ) -> tuple[str, list[tuple[int, int]]]:
        texts = [text for piece in pieces for text in piece.texts]
        for text in texts:
            if found := self._control.search(text):
                raise DataError(
                    "control_token", f"the text holds the control token '{found.group()}'; remove or rewrite it"
                )
        talk = zip(turns, contents, strict=True)
        shape = ((turn.role, turn.supervised, *(isinstance(part, str) for part in parts)) for turn, parts in talk)
        key = (generate, *shape, *(piece.frame for piece in pieces))
        if key not in self._skeletons:
            self._skeletons[key] = self._make_skeleton(turns, contents, pieces, generate)
        skeleton = self._skeletons[key]
        framed = any(piece.thought is not None for piece in pieces)
        unsure = any(text != text.strip() or "<" in text or "[" in text or "\ue000" in text for text in texts)
        texts = [texts[number] for number in skeleton.kept]
        if framed or unsure:
            real = self._template(_messages(turns, contents), generate)
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

    def _make_skeleton(
        self, turns: Sequence[Turn], contents: list[list[str | int]], pieces: list[_Piece], generate: bool
    ) -> _Skeleton:
        """Render with a mark in place of every text, and see where the template puts it.

        Raises:
            DataError: the template drops, repeats or moves a text that is no thought.
        """
        marked_contents, may_go, number = [], set[int](), 0
        following = iter(pieces)
        for parts in contents:
            marked: list[str | int] = []
            for part in parts:
                if isinstance(part, str):
                    piece = next(following)
                    marks = [f"\ue000{number + i}\ue001" for i in range(len(piece.texts))]
                    marked.append(piece.frame.format(*marks))
                    may_go |= {number} if len(marks) == 2 else set()
                    number += len(marks)
                else:
                    marked.append(part)
            marked_contents.append(marked)
        messages = _messages(turns, marked_contents)
        text = self._template(messages, generate)
        split = _MARK.split(text)
        literals, kept = tuple(split[::2]), tuple(int(found) for found in split[1::2])
        if list(kept) != [n for n in range(number) if n in kept or n not in may_go]:
            raise DataError("template", "the chat template drops or repeats a turn of this conversation")
        owners: list[int] = []
        following = iter(pieces)
        for place, parts in enumerate(contents):
            owners += [place for part in parts if isinstance(part, str) for _ in next(following).texts]
        owners = [owners[n] for n in kept]
        generated = self._generated(messages, text, generate) if not generate else None
        spans = []
        for place, turn in enumerate(turns):
            if turn.role == "assistant" and turn.supervised:
                first = owners.index(place)
                own = (first, first + owners.count(place) - 1)
                spans += (
                    self._spans(literals, own) if generated is None else _within(text, generated, owners, place, turns)
                )
                if generated is not None:
                    spans = [max(span, (*self._start(literals, span[0]), *span[2:])) for span in spans]
        return _Skeleton(literals, kept, tuple(spans))

    def _start(self, literals: tuple[str, ...], literal: int) -> tuple[int, int]:
        """Where an answer may begin whose first text follows ``literal``: after what the prompt gives."""
        header = literals[literal].rfind(self._header) if self._header else -1
        return literal, header + len(self._header) if header >= 0 else 0

    def _spans(self, literals: tuple[str, ...], own: tuple[int, int]) -> list[tuple[int, int, int, int]]:
        """What is supervised of a turn with the kept texts ``own`` (first, last): header to end-of-turn token."""
        before, after = literals[own[0]], literals[own[1] + 1]
        header = before.rfind(self._header) if self._header else -1
        start = header + len(self._header) if header >= 0 else len(before)
        end = self._control.match(after)
        return [(own[0], start, own[1] + 1, end.end() if end else 0)]

    def _generated(self, messages: list[dict[str, Any]], text: str, generate: bool) -> list[tuple[int, int]] | None:
        """Character spans between the template's generation markers; ``None`` where it has none."""
        from transformers.utils.chat_template_utils import render_jinja_template

        template = self._tokenizer.get_chat_template()
        if not _GENERATION.search(template):
            return None
        rendered: Any = render_jinja_template(
            conversations=[messages],
            chat_template=template,
            return_assistant_tokens_mask=True,
            add_generation_prompt=generate,
            **self._tokenizer.special_tokens_map,
        )
        (again,), (spans,) = rendered
        return [(start, stop) for start, stop in spans] if again == text else None

    def told_ending(self, ends: set[int]) -> str:
        """What a person should know of how the template ends an answer; "" where generation will stop there."""
        turns = [Turn(role="user", content=("a",)), Turn(role="assistant", content=("b",))]
        text, spans = self.render(turns)
        ending = text[spans[-1][0] : spans[-1][1]].rpartition("b")[2] if spans else ""
        found = self._control.search(ending)
        if found is None:
            return (
                "the chat template ends an answer with no token that is learned, so a model trained with it does not "
                "learn to stop; give model.chat_template a file whose template writes one after each answer"
            )
        identity = self._backend.token_to_id(found.group())
        if identity in ends:
            return ""
        return (
            f"the chat template ends answers with '{found.group()}', at which generation does not stop: neither the "
            "tokenizer's eos_token nor generation_config.json names it"
        )

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
                starts, ends = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2).T
                for start, stop in spans:  # a token across the edge counts, as it does for transformers
                    supervised |= (ends > start) & (starts < stop)
            result.append(Tokens(ids, supervised))
        return result


def _within(
    text: str, generated: list[tuple[int, int]], owners: list[int], place: int, turns: Sequence[Turn]
) -> list[tuple[int, int, int, int]]:
    """Spans of ``text`` (with marks in place of the texts) that are of turn ``place``, by literal and place in it.

    A span is of the turn of the first text in it; without one, of the answer whose text is before it, else of the next.
    """
    marks = [(found.start(), found.end()) for found in _MARK.finditer(text)]

    def located(at: int) -> tuple[int, int]:
        number = sum(stop <= at for _, stop in marks)
        return number, at - (marks[number - 1][1] if number else 0)

    spans = []
    for start, stop in generated:
        number = sum(begin < start for begin, _ in marks)  # of the first text that begins in the span or after it
        is_inside = number < len(marks) and marks[number][0] < stop
        if not is_inside and number and (number == len(marks) or turns[owners[number - 1]].role == "assistant"):
            number -= 1
        if owners[number] == place:
            spans.append((*located(start), *located(stop)))
    return spans


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


@dataclass(frozen=True)
class _Piece:
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


def _pieces(turns: Sequence[Turn], contents: list[list[str | int]], split_thoughts: bool) -> list[_Piece]:
    pieces = []
    for turn, parts in zip(turns, contents, strict=True):
        for part in parts:
            if isinstance(part, str):
                own = turn.role == "assistant" and split_thoughts
                found = next((match for pattern in _THOUGHTS if own and (match := pattern.fullmatch(part))), None)
                if found is None:
                    pieces.append(_Piece("{}", part))
                    continue
                opens, thought, closes, _ = (group.replace("{", "{{").replace("}", "}}") for group in found.groups())
                frame = f"{opens}{{}}{closes}{{}}" if thought else f"{opens}{closes}{{}}"
                pieces.append(_Piece(frame, found.group(4), found.group(2)))
    return pieces


def _messages(turns: Sequence[Turn], contents: list[list[str | int]]) -> list[dict[str, Any]]:
    """The conversation as transformers' templates take it."""
    messages = []
    for turn, parts in zip(turns, contents, strict=True):
        content: list[dict[str, Any]] = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in parts
        ]
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
