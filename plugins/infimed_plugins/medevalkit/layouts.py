"""Upstream rows to questions: one reader for each layout that the data cards name."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infimed_core import DataError, Media
from infimed_plugins.medevalkit.answers.equality import key as key_of
from infimed_plugins.medevalkit.answers.named_options import LETTERS
from infimed_plugins.medevalkit.cards import Card
from infimed_plugins.medevalkit.folders import Images, is_no_image

Record = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """A question as upstream has it: ``options`` without letters, ``answer`` a letter, letters or a text.

    ``record`` holds what MedEvalKit also writes to results.json, under its names; ``kind`` picks the instruction:
    choice, judgement, closed, open, mmmu, report or chat.
    """

    kind: str
    text: str
    answer: str | list[str]
    options: tuple[str, ...] = ()
    images: tuple[Media, ...] = ()
    language: str = "en"
    record: Record = field(default_factory=dict)
    id: str = ""
    turns: tuple[tuple[str, str], ...] = ()


def text_of(row: Mapping[str, Any], name: str) -> str:
    """A field that must be text.

    Raises:
        DataError: it is missing or is something else; the message names the fields that are there.
    """
    value = row.get(name)
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:  # NaN is no text
        return str(value)
    there = ", ".join(sorted(str(key) for key in row)) or "none"
    raise DataError("missing_field", f"field '{name}' is {'missing' if value is None else 'not text'}; fields: {there}")


def _mapped(options: Any) -> tuple[str, ...]:
    """Options from a map of letters, a list of texts or a list of {key, value}, in the order of the letters."""
    if isinstance(options, (list, tuple)) and options and all(isinstance(option, Mapping) for option in options):
        options = {str(option["key"]): option["value"] for option in options}
    if isinstance(options, Mapping):
        by_key = {str(key): value for key, value in options.items()}
        if by_key and set(by_key) <= set(LETTERS):
            return _listed([by_key.get(letter) for letter in LETTERS[: LETTERS.index(max(by_key)) + 1]])
        return _listed([by_key[key] for key in sorted(by_key, key=lambda key: (len(key), key))])
    if isinstance(options, (list, tuple)) and options:
        return _listed(options)
    raise DataError("no_options", "the question has no options")


def _listed(values: Sequence[Any]) -> tuple[str, ...]:
    """The options in the order of their letters, without those that are empty at the end.

    Raises:
        DataError: ``no_options``; ``empty_option``: one in the middle is empty, so that letters would move up.
    """
    texts = ["" if value is None or value != value else str(value) for value in values]
    while texts and not texts[-1].strip():
        texts.pop()
    if not texts:
        raise DataError("no_options", "the question has no options")
    for place, text in enumerate(texts):
        if not text.strip():
            raise DataError("empty_option", f"option {LETTERS[place]} is empty and one behind it is not")
    return tuple(texts)


def _images(row: Mapping[str, Any], images: Images, last: int) -> tuple[Media, ...]:
    """The images ``image_1`` to ``image_LAST``, without those that are empty at the end.

    Raises:
        DataError: ``missing_image``: one in the middle is empty, so that those behind it would move up.
    """
    cells = [row.get(f"image_{number}") for number in range(1, last + 1)]
    while cells and is_no_image(cells[-1]):
        cells.pop()
    return tuple(images.find(cell) for cell in cells)


def options_map(card: Card, row: Record, images: Images) -> Question:
    """``question``, ``options`` {A: text}, ``answer_idx``."""
    return Question("choice", text_of(row, "question"), text_of(row, "answer_idx"), _mapped(row.get("options")))


def medmcqa(card: Card, row: Record, images: Images) -> Question:
    """``question``, ``opa`` to ``opd``, ``cop`` counted from 0."""
    options = tuple(text_of(row, name) for name in ("opa", "opb", "opc", "opd"))
    number = row.get("cop")
    if not isinstance(number, int) or not 0 <= number < 4:
        raise DataError("bad_answer", f"cop is {number!r}, not 0 to 3")
    return Question("choice", text_of(row, "question"), LETTERS[number], options, id=str(row.get("id", "")))


def medbullets5(card: Card, row: Record, images: Images) -> Question:
    """``question``, ``opa`` to ``ope``, ``answer_idx``."""
    options = tuple(text_of(row, name) for name in ("opa", "opb", "opc", "opd", "ope"))
    return Question("choice", text_of(row, "question"), text_of(row, "answer_idx"), options)


def pubmedqa(card: Card, row: Record, images: Images) -> Question:
    """``data``: ``Question``, ``Options``, ``Context`` (texts), ``Correct Option``; the abstract comes first."""
    data = row.get("data", row)
    context = data.get("Context", [])
    record = {"__before__": "Context: " + "\n".join([context] if isinstance(context, str) else context) + "\n"}
    answer = text_of(data, "Correct Option")
    own = str(row.get("__id__") or "")
    return Question("choice", text_of(data, "Question"), answer, _mapped(data.get("Options")), record=record, id=own)


def supergpqa(card: Card, row: Record, images: Images) -> Question | None:
    """``question``, ``options`` (up to ten), ``answer_letter``; other disciplines are no part of the benchmark."""
    if row.get("discipline") != "Medicine":
        return None
    record = {"field": row.get("field"), "difficulty": row.get("difficulty")}
    options = _mapped(row.get("options"))
    return Question("choice", text_of(row, "question"), text_of(row, "answer_letter"), options, record=record)


def mmlu(card: Card, row: Record, images: Images) -> Question:
    """``question``, ``choices``, ``answer`` counted from 0."""
    number = row.get("answer")
    options = _mapped(row.get("choices"))
    if not isinstance(number, int) or not 0 <= number < len(options):
        raise DataError("bad_answer", f"answer is {number!r}, not the number of an option")
    record = {"subject": row.get("subject") or row.get("__config__")}
    return Question("choice", text_of(row, "question"), LETTERS[number], options, record=record)


def cmmlu(card: Card, row: Record, images: Images) -> Question:
    """``Question``, ``A`` to ``D``, ``Answer``, in either case."""
    row = {**{key.lower(): value for key, value in row.items()}, **{k: row[k] for k in row if k in "ABCD"}}
    options = tuple(text_of(row, letter) for letter in "ABCD")
    record = {"subject": row.get("task") or row.get("__config__")}
    return Question("choice", text_of(row, "question"), text_of(row, "answer"), options, language="zh", record=record)


def key_value(card: Card, row: Record, images: Images) -> Question | None:
    """CMB: ``question``, ``option`` (map or {key, value} list), ``answer``; single-choice questions only."""
    if row.get("question_type", "单项选择题") != "单项选择题":
        return None
    answer = text_of(row, "answer")
    return Question("choice", text_of(row, "question"), answer, _mapped(row.get("option")), language="zh")


def cmexam(card: Card, row: Record, images: Images) -> Question:
    """``Question``, ``Options`` ({key, value}), ``Answer`` (one letter or several)."""
    answer = text_of(row, "Answer")
    return Question("choice", text_of(row, "Question"), answer, _mapped(row.get("Options")), language="zh")


def pmc_vqa(card: Card, row: Record, images: Images) -> Question:
    """CSV: ``Figure_path``, ``Question``, ``Choice A`` to ``Choice D``, ``Answer``; options carry their letters."""
    options = tuple(text_of(row, f"Choice {letter}") for letter in "ABCD")
    record = {"Figure_path": text_of(row, "Figure_path")}
    image = images.find(row["Figure_path"])
    answer = text_of(row, "Answer").strip()
    return Question("choice", text_of(row, "Question"), answer, options, (image,), record=record)


def omnimedvqa(card: Card, row: Record, images: Images) -> Question:
    """``image_path``, ``question``, ``option_A`` to ``option_D`` (two to four), ``gt_answer`` as text."""
    options = _listed([row.get(f"option_{letter}") for letter in "ABCD"])
    gold = text_of(row, "gt_answer")
    letters = [LETTERS[index] for index, option in enumerate(options) if option == gold]
    record = {key: row.get(key) for key in ("question_type", "modality_type", "image_path", "dataset")}
    return Question(
        "choice", text_of(row, "question"), letters[0] if letters else gold, options,
        (images.find(row.get("image_path")),), record=record, id=str(row.get("question_id", "")),
    )  # fmt: skip


def medxpertqa(card: Card, row: Record, images: Images) -> Question:
    """``question``, ``options`` {A: text}, ``label``, ``images`` (file names), types."""
    record = {key: row.get(key) for key in ("question_type", "medical_task", "body_system")}
    found = tuple(images.find(name) for name in row.get("images") or ())
    return Question(
        "choice", text_of(row, "question"), text_of(row, "label"), _mapped(row.get("options")), found,
        record=record, id=str(row.get("id", "")),
    )  # fmt: skip


def medframeqa(card: Card, row: Record, images: Images) -> Question:
    """``question``, ``options``, ``correct_answer``, ``image_1`` to ``image_5``, empty ones left out."""
    found = _images(row, images, 5)
    record = {key: row[key] for key in ("modality", "system", "organ", "video_id") if row.get(key) is not None}
    answer = text_of(row, "correct_answer")
    return Question("choice", text_of(row, "question"), answer, _mapped(row.get("options")), found, record=record)


def visual_table(card: Card, row: Record, images: Images) -> Question:
    """``image``, ``question``, ``answer``: yes/no or open."""
    answer = text_of(row, "answer")
    kind = "judgement" if answer.lower() in ("yes", "no") else "open"
    image = images.find(row.get("image"))
    inline = row.get("image")
    record = {"image_id": row.get("image_id") or (inline.get("path") if isinstance(inline, dict) else None)}
    return Question(kind, text_of(row, "question"), answer, images=(image,), record=record)


def slake(card: Card, row: Record, images: Images) -> Question:
    """``img_name``, ``question``, ``answer``, ``answer_type`` (OPEN, CLOSED), ``q_lang``."""
    kind = "open" if text_of(row, "answer_type") == "OPEN" else "closed"
    language = text_of(row, "q_lang")
    if language not in ("en", "zh"):
        raise DataError("bad_language", f"q_lang is {language[:20]!r}; questions are in en or zh")
    record = {"answer_type": row["answer_type"], "lang": language, "img_name": row.get("img_name")}
    record |= {key: row[key] for key in ("modality", "content_type", "location") if key in row}
    image = images.find(row.get("img_name"))
    return Question(
        kind, text_of(row, "question"), text_of(row, "answer"), (), (image,), language, record, str(row.get("qid", ""))
    )


def mmmu(card: Card, row: Record, images: Images) -> Question:
    """``id``, ``question``, ``options`` (a Python literal), ``answer``, ``image_1`` to ``image_7``, a type."""
    options = row.get("options") or []
    if isinstance(options, str):
        try:
            options = ast.literal_eval(options)
        except (ValueError, SyntaxError) as error:
            raise DataError("bad_options", f"options are no list literal: {options[:60]!r}") from error
    answer = row.get("answer")
    if isinstance(answer, str) and answer.startswith("["):
        answer = ast.literal_eval(answer)
    if answer in (None, "", "?"):
        raise DataError("no_answer", f"{row.get('id')}: no answer; put upstream's answer list as answer.json beside it")
    found = _images(row, images, 7)
    kind = str(row.get("question_type", "multiple-choice"))
    record = {"id": row.get("id"), "question_type": kind, "subject": row.get("__config__")}
    texts = _listed(options) if kind == "multiple-choice" else ()
    return Question(
        "mmmu", text_of(row, "question"), answer if isinstance(answer, list) else str(answer), texts, found,
        record=record, id=str(row.get("id", "")),
    )  # fmt: skip


def reports(card: Card, row: Record, images: Images) -> Question | None:
    """``id``, ``image`` (a name or several), ``findings``, ``impression``; studies with neither are left out."""
    findings, impression = (text_of(row, name) if row.get(name) else "" for name in ("findings", "impression"))
    if not findings.strip() and not impression.strip():
        return None
    names = row.get("image") or ()
    found = tuple(images.find(name) for name in ([names] if isinstance(names, str) else names))
    record = {"findings": findings, "impression": impression, "id": row.get("id")}
    return Question(
        "report", "", f"Findings: {findings} Impression: {impression}.", images=found, record=record, id=str(row["id"])
    )


def healthbench(card: Card, row: Record, images: Images) -> Question:
    """``prompt`` (a conversation), ``rubrics`` with points, ``example_tags``."""
    rubrics, prompt = row.get("rubrics"), row.get("prompt")
    if not isinstance(rubrics, list) or not isinstance(prompt, list) or not prompt:
        raise DataError("missing_field", "prompt and rubrics must be lists")
    turns = tuple((str(turn["role"]), str(turn["content"])) for turn in prompt)
    if unknown := next((role for role, _ in turns if role not in ("system", "user", "assistant")), None):
        raise DataError("bad_role", f"a turn's role is {unknown[:20]!r}, none of system, user, assistant")
    if not isinstance(row.get("example_tags", []), list):
        raise DataError("bad_row", "example_tags must be a list")
    record = {"rubrics": rubrics, "example_tags": row.get("example_tags", [])}
    return Question("chat", "", "", record=record, id=str(row.get("prompt_id", "")), turns=turns)


def arc(card: Card, row: Record, images: Images) -> Question:
    """``question``, ``choices`` {text, label}, ``answerKey``: a letter, or in a few rows a number from 1."""
    choices = row.get("choices")
    if not isinstance(choices, Mapping):
        raise DataError("no_options", "the question has no 'choices' with text and label")
    labels = [str(label) for label in choices.get("label", ())]
    right = text_of(row, "answerKey")
    if right not in labels:
        raise DataError("bad_answer", f"answerKey is {right!r}, none of {', '.join(labels)}")
    options = _listed(list(choices.get("text", ())))
    letter = LETTERS[labels.index(right)]
    return Question("choice", text_of(row, "question"), letter, options, id=str(row.get("id", "")))


def mmbench(card: Card, row: Record, images: Images) -> Question:
    """``question``, ``hint`` where there is one, ``A`` to ``D``, ``answer`` and ``image``."""
    options = _listed([None if str(row.get(letter)) == "nan" else row.get(letter) for letter in "ABCD"])
    hint = row.get("hint")
    told = f"{hint}\n" if isinstance(hint, str) and hint.strip() and hint != "nan" else ""
    record = {"category": str(row.get("category", "")), "image": str(row.get("index", ""))}
    picture = images.find(row.get("image"))
    asked, number = told + text_of(row, "question"), str(row.get("index", ""))
    return Question("choice", asked, text_of(row, "answer"), options, (picture,), record=record, id=number)


Layout = Callable[[Card, Record, Images], "Question | None"]

LAYOUTS: dict[str, Layout] = {
    "options-map": options_map, "medmcqa": medmcqa, "medbullets5": medbullets5, "pubmedqa": pubmedqa,
    "supergpqa": supergpqa, "mmlu": mmlu, "cmmlu": cmmlu, "key-value": key_value, "cmexam": cmexam,
    "pmc-vqa": pmc_vqa, "omnimedvqa": omnimedvqa, "medxpertqa": medxpertqa, "medframeqa": medframeqa,
    "visual-table": visual_table, "slake": slake, "mmmu": mmmu, "reports": reports, "healthbench": healthbench,
    "arc": arc, "mmbench": mmbench,
}  # fmt: skip

IMAGE_FOLDERS = {
    "pmc-vqa": ("figures", "images", ""), "slake": ("imgs", ""), "medxpertqa": ("images", ""),
    "omnimedvqa": ("", "OmniMedVQA"), "reports": ("", "images"), "radrestruct": ("imgs", "images", ""),
    "mmbench": ("images", ""),
}  # fmt: skip
"""Where each layout keeps its images, below the folder of the data."""


def radrestruct(card: Card, report: str, row: Any, images: Images) -> Iterator[Question]:
    """One report file: a list of [question, [answers], history, {answer_type, options, path}]."""
    for entry in row:
        try:
            text, answers, _, about = entry
            kind, options = about["answer_type"], tuple(str(option) for option in about["options"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError("bad_row", f"{report}: not [question, answers, history, facts] ({error!r})") from error
        polar = {key_of(option) for option in options} <= {"yes", "no"}
        golds = [str(answer) for answer in answers]
        record = {"answer_type": kind, "report": report, "path": about.get("path")}
        image = images.find(f"{report}.png")
        if polar:
            yield Question("judgement", str(text), golds[0], (), (image,), record=record)
        else:
            yield Question("choice", str(text), golds, options, (image,), record=record)


__all__ = ["IMAGE_FOLDERS", "LAYOUTS", "Question", "radrestruct"]
