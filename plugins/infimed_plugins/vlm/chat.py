"""Conversations to token ids through a checkpoint's own chat template, with what is supervised found exactly."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError, Turn
from infimed_plugins.checkpoint_files import one_line, opening
from infimed_plugins.vlm.chat_markers import spans_of_turn
from infimed_plugins.vlm.chat_messages import Piece, messages_of, parts_of, pieces_of

GROUNDING = frozenset(
    {f"<|{name}_{side}|>" for name in ("object_ref", "box", "quad", "point") for side in ("start", "end")}
    | {f"<{sign}{name}>" for name in ("ref", "box", "quad", "point") for sign in ("", "/")}
)
"""Tokens that families write around names and boxes: data to learn, though tokenizers call them special."""
Tools = Sequence[Mapping[str, Any]]
"""What is offered to the model, each as templates take it."""
_MARK = re.compile("\ue000([0-9]+)\ue001")
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


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
        from infimed_plugins.vlm.template_limits import bound_templates

        bound_templates()
        self._tokenizer = tokenizer
        with opening(f"{tokenizer.name_or_path}: its tokenizer"):
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

    def _template(self, messages: list[dict[str, Any]], generate: bool, tools: Tools = ()) -> str:
        offered = [dict(tool) for tool in tools] or None
        try:
            return self._tokenizer.apply_chat_template(
                messages, tools=offered, tokenize=False, add_generation_prompt=generate
            )
        except Exception as error:  # a template is a program: it can divide by zero, recurse or fill the memory
            text = f"{self._tokenizer.name_or_path}: the chat template refuses this conversation: {one_line(error)}"
            raise DataError("template", f"{text}; name another in model.chat_template") from error

    @cached_property
    def _ending(self) -> str:
        """The token that ends an answer; "" where the template writes none."""
        answered = [{"role": "user", "content": "\ue0000\ue001"}, {"role": "assistant", "content": "\ue0001\ue001"}]
        found = self._control.match(_MARK.split(self._template(answered, False))[-1])
        return found.group() if found else ""

    def render(
        self, turns: Sequence[Turn], generate: bool = False, tools: Tools = ()
    ) -> tuple[str, list[tuple[int, int]]]:
        """The conversation as the template writes it, and the character spans that are supervised.

        A span runs from the end of the assistant's header to the end of its end-of-turn token, of turns that are
        ``supervised``.
        ``generate`` ends the text with the header of an answer. ``tools`` are offered as the template writes them.

        Raises:
            DataError: a text, tool or call holds a control token, the template has no place for tools or calls, or it
                changes texts in a way not understood.
        """
        contents = [parts_of(turn) for turn in turns]
        plain = pieces_of(turns, contents, split_thoughts=False)
        if not any(piece.closes_thought for piece in plain):
            return self._rendered(turns, contents, plain, generate, tools)
        try:
            return self._rendered(turns, contents, plain, generate, tools)
        except DataError:
            # A template that knows thoughts writes them in its own way, and may drop those of earlier turns.
            return self._rendered(turns, contents, pieces_of(turns, contents, split_thoughts=True), generate, tools)

    def _rendered(
        self,
        turns: Sequence[Turn],
        contents: list[list[str | int]],
        pieces: list[Piece],
        generate: bool,
        tools: Tools,
    ) -> tuple[str, list[tuple[int, int]]]:
        texts = [text for piece in pieces for text in piece.texts]
        calls = [call.arguments for turn in turns for call in turn.tool_calls]
        written = (json.dumps(part, ensure_ascii=False) for part in (*tools, *calls))
        for text in (*texts, *written):
            if found := self._control.search(text):
                raise DataError(
                    "control_token", f"the text holds the control token '{found.group()}'; remove or rewrite it"
                )
        talk = zip(turns, contents, strict=True)
        shape = ((turn.role, turn.supervised, *(isinstance(part, str) for part in parts)) for turn, parts in talk)
        key = (generate, *shape, *(piece.frame for piece in pieces))
        if calls or tools:  # what a call or tool says stays literal: no other conversation is rendered alike
            skeleton = self._make_skeleton(turns, contents, pieces, generate, tools)
        else:
            if key not in self._skeletons:
                self._skeletons[key] = self._make_skeleton(turns, contents, pieces, generate, tools)
            skeleton = self._skeletons[key]
        framed = any(piece.thought is not None for piece in pieces) or bool(calls or tools)
        unsure = any(text != text.strip() or "<" in text or "[" in text or "\ue000" in text for text in texts)
        texts = [texts[number] for number in skeleton.kept]
        if framed or unsure:
            real = self._template(messages_of(turns, contents), generate, tools)
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
        self,
        turns: Sequence[Turn],
        contents: list[list[str | int]],
        pieces: list[Piece],
        generate: bool,
        tools: Tools,
    ) -> _Skeleton:
        """Render with a mark in place of every text, and see where the template puts it.

        Raises:
            DataError: the template drops, repeats or moves a text that is no thought, or has no place for tools.
        """
        marked_turns: list[Turn] = []
        marked_contents: list[list[str | int]] = []
        owned: list[range] = []
        may_go: set[int] = set()
        number, following = 0, iter(pieces)
        for turn, parts in zip(turns, contents, strict=True):
            first, marked, names = number, list[str | int](), list[str]()
            for part in (*parts, *turn.tool_calls):
                if isinstance(part, int):
                    marked.append(part)
                    continue
                piece = next(following)
                marks = [f"\ue000{number + i}\ue001" for i in range(len(piece.texts))]
                written = piece.frame.format(*marks)
                if isinstance(part, str):
                    marked.append(written)
                else:
                    names.append(written)
                may_go |= {number} if len(marks) == 2 else set()
                number += len(marks)
            renamed = zip(turn.tool_calls, names, strict=True)
            calls = tuple(call.model_copy(update={"name": name}) for call, name in renamed)
            marked_turns.append(turn.model_copy(update={"tool_calls": calls}) if calls else turn)
            marked_contents.append(marked)
            owned.append(range(first, number))
        messages = messages_of(marked_turns, marked_contents)
        whole = self._template(messages, generate, tools)
        if tools and whole == self._template(messages, generate):
            raise DataError(
                "no_tools", "the chat template has no place for tools; set ignore: [tools], or another model"
            )
        split = _MARK.split(whole)
        literals, kept = tuple(split[::2]), tuple(int(found) for found in split[1::2])
        if list(kept) != [n for n in range(number) if n in kept or n not in may_go]:
            calls_told = " or call" if any(turn.tool_calls for turn in turns) else ""
            raise DataError("template", f"the chat template drops or repeats a turn{calls_told} of this conversation")
        generated = None if generate else self._generated(messages, whole, tools)
        owners = [next(at for at, numbers in enumerate(owned) if number in numbers) for number in kept]
        spans = []
        for at, turn in enumerate(turns):
            if turn.role == "assistant" and turn.supervised:
                own = [place for place, owner in enumerate(owners) if owner == at]
                if generated is None:
                    spans.append(self._span(literals, own[0], own[-1] + 1, bool(turn.tool_calls)))
                else:
                    marked_spans = spans_of_turn(whole, _MARK, generated, owners, at, turns)
                    spans += [max(span, (*self._start(literals, span[0]), *span[2:])) for span in marked_spans]
        return _Skeleton(literals, kept, tuple(spans))

    def _start(self, literals: tuple[str, ...], literal: int) -> tuple[int, int]:
        """Where an answer may begin whose first text follows ``literal``: after what the prompt gives."""
        header = literals[literal].rfind(self._header) if self._header else -1
        return literal, header + len(self._header) if header >= 0 else 0

    def _generated(self, messages: list[dict[str, Any]], text: str, tools: Tools) -> list[tuple[int, int]] | None:
        """Character spans between the template's generation markers; ``None`` where it has none."""
        from transformers.utils.chat_template_utils import render_jinja_template

        template = self._tokenizer.get_chat_template(tools=[dict(tool) for tool in tools] or None)
        if not _GENERATION.search(template):
            return None
        rendered: Any = render_jinja_template(
            conversations=[messages],
            tools=[dict(tool) for tool in tools] or None,
            chat_template=template,
            return_assistant_tokens_mask=True,
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

    def _span(self, literals: tuple[str, ...], first: int, last: int, calls: bool) -> tuple[int, int, int, int]:
        """Where an answer begins in the literal before its first text, and ends in the one behind its last."""
        before, after = literals[first], literals[last]
        header = before.rfind(self._header) if self._header else -1
        start = header + len(self._header) if header >= 0 else len(before)
        if not calls:
            end = self._control.match(after)
            return first, start, last, end.end() if end else 0
        # The arguments of a call, and what closes it, stand before the end of the turn.
        stop = after.find(self._ending) if self._ending else -1
        if header < 0 or stop < 0:
            raise DataError(
                "template", "the chat template writes calls of tools without a header or an end of the turn"
            )
        return first, start, last, stop + len(self._ending)

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
