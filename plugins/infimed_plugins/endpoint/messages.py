"""A request as the body of a chat completion, and the reply as an answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, JsonValue

from infimed_core import Answer, DataError, Generation, Request, Row, Turn
from infimed_plugins.endpoint.pictures import Pictures
from infimed_plugins.http.transport import CallError

MOST_TOKENS = 2**31
"""A count that is larger is no count."""
MOST_LISTED = 20
"""Of the likeliest tokens; the most that OpenAI's interface lists."""


class Asking(Row):
    """What, besides the question, decides the answer."""

    system: str | None = None
    max_image_side: int | None = None
    image_format: Literal["png", "jpeg"] = "png"
    max_tokens_name: str = "max_tokens"
    extra_body: dict[str, JsonValue] = Field(default_factory=dict)


def make_body(request: Request, model: str, asking: Asking, pictures: Pictures) -> dict[str, Any]:
    """The body of POST /chat/completions: texts and images (data URIs) in the order of each turn's content.

    Raises:
        DataError: a medium is missing, broken, or no image.
    """
    turns = request.turns
    if asking.system is not None and not (turns and turns[0].role == "system"):
        turns = (Turn(role="system", content=(asking.system,)), *turns)
    messages = [{"role": turn.role, "content": _content(turn, request, pictures)} for turn in turns]
    body = {"model": model, "messages": messages, "stream": False, **_settings(request.generation, asking)}
    if request.continuations:
        body |= {asking.max_tokens_name: 1, "logprobs": True, "top_logprobs": MOST_LISTED}
    return {name: value for name, value in (body | asking.extra_body).items() if value is not None}


def _settings(generation: Generation, asking: Asking) -> dict[str, Any]:
    settings: dict[str, Any] = {
        asking.max_tokens_name: generation.max_new_tokens,
        "temperature": generation.temperature,
    }
    if generation.temperature > 0:
        settings |= {"top_p": generation.top_p, "seed": generation.seed}
    if generation.stop:
        settings["stop"] = list(generation.stop)
    if generation.json_schema is not None:
        settings["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "reply", "strict": True, "schema": dict(generation.json_schema)},
        }
    return settings


def _content(turn: Turn, request: Request, pictures: Pictures) -> str | list[dict[str, Any]]:
    """One text where the turn has no image (every server takes that), else parts in reading order."""
    if not turn.media_indices:
        return turn.text
    parts: list[dict[str, Any]] = []
    for part in turn.content:
        if isinstance(part, str):
            if part:
                parts.append({"type": "text", "text": part})
            continue
        if not 0 <= part < len(request.media):
            raise DataError("missing_media", f"the question names medium {part}, which it does not have")
        parts.append({"type": "image_url", "image_url": {"url": pictures.data_uri(request.media[part])}})
    return parts


def _log_likelihoods(choice: Mapping[str, Any], continuations: Sequence[str]) -> tuple[float, ...]:
    """Of each text the log-probability that the answer is this one token, from the list of the likeliest tokens.

    A text that is not in the list gets the least value there: it is less likely still. Empty where the list does not
    settle that: none of the texts is in it, or one that is missing begins with a token that is.
    """
    try:
        listed = choice["logprobs"]["content"][0]["top_logprobs"]
        pairs = [(str(one["token"]).strip(), float(one["logprob"])) for one in listed]
    except (KeyError, IndexError, TypeError, ValueError):
        return ()
    known = {text: [value for token, value in pairs if token == text] for text in continuations}
    missing = [text for text, values in known.items() if not values]
    begun = any(token and text.startswith(token) for text in missing for token, _ in pairs)
    if begun or len(missing) == len(known):
        return ()
    least = min(value for _, value in pairs)
    return tuple(math.log(sum(map(math.exp, known[text]))) if known[text] else least for text in continuations)


def read_reply(reply: Any, request: Request) -> Answer:
    """The first choice of a chat completion as an answer; a model's reasoning goes to the transcript.

    A model whose tokens were used up before it began to answer said nothing: its answer is the empty text.

    Raises:
        CallError: the reply is no chat completion, or it holds no text for a reason that it tells. Another try may
            bring what a server with a fault left out.
    """
    if not isinstance(reply, Mapping):
        raise CallError("malformed_reply", "the reply is no JSON object", retry=True)
    if reply.get("error"):
        raise CallError("server_error", f"the server replied with an error: {reply['error']}", retry=True)
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        raise CallError(
            "malformed_reply",
            "the reply holds no choice with a message; is this a chat completions server?",
            retry=True,
        )
    finish = choice.get("finish_reason")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    text = _text(message.get("content"))
    if text is None and message.get("refusal"):
        text = str(message["refusal"])
    if text is None:
        if not (reasoning or finish == "length"):
            raise CallError("no_text", f"the reply holds no text (finish_reason '{finish}')", retry=True)
        text = ""
    text = text.strip()
    usage = reply.get("usage")
    return Answer(
        sample_id=request.sample_id,
        text=text,
        num_prompt_tokens=_count(usage, "prompt_tokens"),
        num_answer_tokens=_count(usage, "completion_tokens"),
        finish_reason=str(finish) if isinstance(finish, str) and finish else None,
        log_likelihoods=_log_likelihoods(choice, request.continuations) if request.continuations else (),
        transcript=({"role": "reasoning", "content": str(reasoning)},) if reasoning else (),
    )


def _text(content: Any) -> str | None:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)]
        return "".join(texts) if texts else None
    return None


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_TOKENS else None
