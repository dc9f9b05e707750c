"""Grading by a judge model: open answers against their reference, and HealthBench's answers against its rubrics."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from infimed_core import Answer, Ask, Generation, Request, Sample, Score, Turn, canonical_json
from infimed_plugins.medevalkit import rubric
from infimed_plugins.medevalkit.answers.named_options import LETTERS
from infimed_plugins.medevalkit.answers.open_answers import NEEDS_JUDGE, unanswered
from infimed_plugins.medevalkit.answers.prepared import prepare
from infimed_plugins.medevalkit.grading import golds

JsonObject = dict[str, Any]

ATTEMPTS = 3
"""How often a judge is asked for one verdict before it is missing."""

Judged = Literal["open", "undecided", "unread"]
"""What a judge is asked: open answers; those that the rules left to it; all that the rules could not read."""

UNREAD_BY_JUDGE = (
    "what the rules read by rule (as strict), every other answer by the judge from question and right answer"
)
"""What the judge decides where ``judged`` is ``unread``, for any grading of single answers."""

BY_JUDGE = {
    "visual": "closed questions by rule (as strict), open questions by the judge from question, reference and answer",
    "mmmu": "multiple choice by rule (as strict), open questions by the judge from question, reference and answer",
    "rubric": "every rubric item by the judge; points of met items over positive points, mean clipped to [0, 1]",
}
"""What the judge decides, for each kind of grading that has a use for one."""

_OPEN = """\
You check a short answer to a medical question. Only its meaning counts: other words, another order, an abbreviation \
or more detail are all fine. It is wrong if it contradicts the reference, leaves out what was asked for, or names \
several possibilities of which the reference is only one.

Question: {question}
Reference answer: {reference}
Answer to check: {answer}

Reply with a JSON object and nothing else: {{"reason": "one sentence", "correct": true or false}}"""

_RUBRIC = """\
Below are a conversation with a health assistant and one statement about its last reply. Decide whether the statement \
is true of that last reply. A statement may describe something bad: it is true if the reply does that. Where it names \
several things, all of them must be there, unless it gives them as examples.

<conversation>
{conversation}
</conversation>

<statement>
{criterion}
</statement>

Reply with a JSON object and nothing else: {{"explanation": "one or two sentences", "criteria_met": true or false}}"""

_AGAIN = (
    "That was not the JSON object asked for ({problem}). Reply with that object alone: no other text, no code fence."
)

OPEN_SCHEMA: JsonObject = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "correct": {"type": "boolean"}},
    "required": ["reason", "correct"],
    "additionalProperties": False,
}
RUBRIC_SCHEMA: JsonObject = {
    "type": "object",
    "properties": {"explanation": {"type": "string"}, "criteria_met": {"type": "boolean"}},
    "required": ["explanation", "criteria_met"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Verdict:
    """What the judge decided, or ``None`` and why there is no decision."""

    holds: bool | None
    reason: str = ""
    note: str = ""


def wants_judge(judged: Judged, is_open: bool, ruled: Score) -> bool:
    """Whether the judge is asked of an answer, by the setting ``judged`` and by what the rules made of it."""
    if judged == "unread":
        return ruled.value is None
    return is_open and (judged == "open" or NEEDS_JUDGE in ruled.reasons)


def judge_open(
    wanted: Sequence[bool],
    samples: Sequence[Sample],
    answers: Sequence[Answer],
    ruled: Sequence[Score],
    ask: Ask,
) -> list[Score]:
    """The judge's scores of the answers that are ``wanted``; ``ruled`` (the strict scores) of the others.

    An empty answer or a refusal stays unscored without being put before the judge.
    """
    asked: list[int] = []
    requests = []
    for index, (sample, answer) in enumerate(zip(samples, answers, strict=True)):
        if not wanted[index] or unanswered(answer.text, answer.finish_reason):
            continue
        record = sample.meta["record"]
        assert isinstance(record, dict)
        asked.append(index)
        told = _told(sample, record)
        parts = dict(zip(_FIELDS, (*told, prepare(answer.text, answer.finish_reason).whole), strict=True))
        requests.append(_request(sample, open_content(parts), OPEN_SCHEMA))
    scores = list(ruled)
    for index, verdict in zip(asked, decide(requests, OPEN_SCHEMA, "correct", ask), strict=True):
        scores[index] = (
            Score(status=_status(verdict), reasons=(verdict.reason,), note=verdict.note)
            if verdict.holds is None
            else Score(value=float(verdict.holds), note=verdict.note)
        )
    return scores


def _told(sample: Sample, record: Mapping[str, Any]) -> tuple[str, str]:
    """Question and reference for the judge: of a choice with its options, and the right one by letter and text."""
    question = str(record["question"])
    if not sample.options or not re.fullmatch("[A-Z]+", sample.references[0]):
        return question, " or ".join(golds(record["answer"]))
    lettered = [f"{letter}. {text}" for letter, text in zip(LETTERS, sample.options, strict=False)]
    right = [line for line in lettered if line[0] in sample.references[0]]
    return "\n".join([question, *lettered]), "; ".join(right)


def _status(verdict: Verdict) -> Literal["unscored", "error"]:
    """A judge that could not be asked says nothing of the answer; one that could, and gave no verdict, leaves it so."""
    return "error" if verdict.reason == "no_verdict" else "unscored"


def judge_rubrics(samples: Sequence[Sample], answers: Sequence[Answer], ask: Ask) -> list[Score]:
    """HealthBench's score of every answer (Arora et al. 2025, section 3): each rubric item is one question.

    ``value`` is the score of the example clipped to [0, 1]; ``parts`` has it as it is (``rubric``, may be negative) and
    for every tag of the items. An answer with a verdict missing is unscored: a sum without it would be a guess.
    """
    requests: list[Request] = []
    items: list[list[dict[str, Any]]] = []
    for sample, answer in zip(samples, answers, strict=True):
        reply = prepare(answer.text, answer.finish_reason).whole
        rubrics = _rubrics(sample) if reply else []
        items.append(rubrics)
        spoken = [f"{turn.role}: {turn.text}" for turn in sample.turns] + [f"assistant: {reply}"]
        for item in rubrics:
            text = _RUBRIC.format(conversation="\n\n".join(spoken), criterion=item["criterion"])
            requests.append(_request(sample, (text,), RUBRIC_SCHEMA))
    verdicts = iter(decide(requests, RUBRIC_SCHEMA, "criteria_met", ask))
    scores = []
    for answer, rubrics in zip(answers, items, strict=True):
        if not rubrics:
            reason = prepare(answer.text, answer.finish_reason).reason or "no_rubric"
            scores.append(Score(status="unscored", reasons=(reason,)))
        else:
            scores.append(_rubric_score(rubrics, [next(verdicts) for _ in rubrics]))
    return scores


def _rubrics(sample: Sample) -> list[dict[str, Any]]:
    record = sample.meta["record"]
    found: Any = record["rubrics"] if isinstance(record, dict) else None
    return list(found) if isinstance(found, list) else []


def _rubric_score(items: Sequence[dict[str, Any]], verdicts: Sequence[Verdict]) -> Score:
    missing = [verdict for verdict in verdicts if verdict.holds is None]
    if missing:
        note = f"{len(missing)} of {len(verdicts)} rubric items have no verdict: {missing[0].note}"
        worst = min(missing, key=_status)  # a judge that could not be asked will be asked again
        return Score(status=_status(worst), reasons=(worst.reason,), note=note)
    points = [float(item["points"]) for item in items]
    met = [bool(verdict.holds) for verdict in verdicts]
    whole = rubric.example_score(points, met)
    if whole is None:
        return Score(status="unscored", reasons=("no_positive_points",))
    parts: dict[str, float | None] = {"rubric": whole}
    for tag in sorted({str(tag) for item in items for tag in item.get("tags", ())}):
        kept = [index for index, item in enumerate(items) if tag in item.get("tags", ())]
        part = rubric.example_score([points[index] for index in kept], [met[index] for index in kept])
        if part is not None:
            parts[tag] = part
    return Score(value=min(1.0, max(0.0, whole)), parts=parts, note=f"{sum(met)} of {len(met)} rubric items met")


_FIELDS = ("question", "reference", "answer")


def open_content(parts: dict[str, str]) -> tuple[str, ...]:
    """What a judge of an open answer is asked; question, reference and answer are every second part."""
    content: list[str] = []
    for number, part in enumerate(re.split(r"\{(question|reference|answer)\}", _OPEN)):
        content.append(parts[part] if number % 2 else part.replace("{{", "{").replace("}}", "}"))
    return tuple(content)


def open_parts(request: Request) -> dict[str, str] | None:
    """Question, reference and answer of a request made of ``open_content``; ``None`` where it is another."""
    content = request.turns[0].content
    parts = {name: str(content[2 * number + 1]) for number, name in enumerate(_FIELDS)} if len(content) == 7 else None
    return parts if parts is not None and content == open_content(parts) else None


def _request(sample: Sample, content: tuple[str, ...], schema: JsonObject) -> Request:
    # no images go to the judge: it compares texts, as MedEvalKit's does
    generation = Generation(max_new_tokens=1024, json_schema=schema)
    return Request(sample_id=sample.id, turns=(Turn(role="user", content=content),), generation=generation)


def decide(requests: Sequence[Request], schema: JsonObject, key: str, ask: Ask) -> list[Verdict]:
    """A verdict for every request: the boolean ``key`` of a reply that satisfies ``schema``.

    A reply that does not is answered with what was wrong, ``ATTEMPTS`` questions in all; then the verdict is missing
    (``bad_verdict``). A judge that cannot be asked is not asked again here (``no_verdict``): the model has its own
    patience, and the next run asks it again.
    """
    verdicts: list[Verdict] = [Verdict(None)] * len(requests)
    waiting = dict(enumerate(requests))
    for _ in range(ATTEMPTS):
        if not waiting:
            break
        replies = ask(list(waiting.values()))
        for index, reply in zip(list(waiting), replies, strict=True):
            if reply.text is None:
                verdicts[index] = Verdict(None, "no_verdict", reply.error or "")
                del waiting[index]
                continue
            body, problem = read_object(reply.text, schema)
            if body is not None:
                verdicts[index] = Verdict(
                    bool(body[key]), note=str(body.get("reason") or body.get("explanation") or "")
                )
                del waiting[index]
                continue
            verdicts[index] = Verdict(None, "bad_verdict", f"{problem} in {reply.text[:200]!r}")
            again = Turn(role="user", content=(_AGAIN.format(problem=problem),))
            turns = (*waiting[index].turns, Turn(role="assistant", content=(reply.text,)), again)
            waiting[index] = waiting[index].model_copy(update={"turns": turns})
    return verdicts


def read_object(reply: str, schema: JsonObject) -> tuple[JsonObject | None, str]:
    """The JSON object of a judge's reply that satisfies ``schema``, or ``None`` and what is wrong with it."""
    body = rubric.parse_reply(reply)
    if not isinstance(body, dict) or not body:
        return None, "no JSON object"
    problem = next((error.message[:200] for error in _validator(canonical_json(schema)).iter_errors(body)), "")
    return (None, problem) if problem else (body, "")


@lru_cache(maxsize=8)
def _validator(schema: str) -> Any:
    import jsonschema

    return jsonschema.Draft202012Validator(json.loads(schema))
