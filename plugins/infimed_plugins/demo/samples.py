"""From pictures and questions to samples: conversations for training, single questions for what is held out."""

from __future__ import annotations

import collections
import random
from collections.abc import Sequence

from infimed_core import Sample, Turn
from infimed_plugins.demo import icd, sources, wording
from infimed_plugins.demo.blocks import Split
from infimed_plugins.demo.pictures import Picture, stable_hash
from infimed_plugins.demo.questions import FORMS, GENERAL_KINDS, KINDS, TASK_TYPES, Question, ask, caption

STAGES = ("pretrain", "general", "medical", "cross-domain")
TURNS_AT_MOST = 6
ROUNDS = 2
HELD_OUT_PER_KIND = 70
TRAIN_TEXTS = 700
"""Disease categories asked about in training."""
TEXT_FORMS = ("open", "option-text", "option-letter", "yes-no")


def _one(values: set[str], several: str) -> str:
    return values.pop() if len(values) == 1 else several


def _tags(picture: Picture, stage: str, questions: Sequence[Question]) -> dict[str, str]:
    kind = _one({question.kind for question in questions}, "several")
    return {
        "kind": kind,
        "form": _one({question.form for question in questions}, "several"),
        "modality": picture.modality,
        "task_type": TASK_TYPES.get(kind, "captioning" if kind == "caption" else "conversation"),
        "split": picture.split,
        "source": picture.source,
        "study": picture.study,
        "image": picture.image,
        "stage": stage,
        "language": "en",
    }


def conversation(picture: Picture, stage: str, number: str, questions: Sequence[Question]) -> Sample:
    """One sample that asks ``questions`` in turn; the picture stands before the first."""
    turns = []
    for turn, question in enumerate(questions):
        turns.append(Turn(role="user", content=(question.prompt,) if turn else (0, question.prompt)))
        turns.append(Turn(role="assistant", content=(question.answer,)))
    single = len(questions) == 1
    return Sample(
        id=f"{picture.id}/{stage}/{number}",
        turns=tuple(turns),
        media=(picture.media,),
        references=questions[0].references if single else (),
        options=questions[0].options if single else (),
        tags=_tags(picture, stage, questions),
        licence=sources.LICENCES[picture.package],
    )


def asked_kinds(pictures: Sequence[Picture], kinds: Sequence[str], factor: float) -> dict[str, list[str]]:
    """Which kinds each picture (by id) is asked: of every kind, its commonest answer stands at most ``factor`` times
    as often as the next, so that no kind is answered by habit."""
    asked: dict[str, list[str]] = {picture.id: [] for picture in pictures}
    for kind in kinds:
        by_answer: dict[str, list[str]] = collections.defaultdict(list)
        for picture in pictures:
            if kind in picture.facts:
                by_answer[picture.facts[kind].answer].append(picture.id)
        sizes = sorted((len(ids) for ids in by_answer.values()), reverse=True)
        if len(sizes) < 2:
            continue  # one possible answer is no question
        most = max(1, round(sizes[1] * factor))
        for ids in by_answer.values():
            for identity in sorted(ids, key=lambda identity, kind=kind: stable_hash(kind, identity))[:most]:  # type: ignore[misc]
                asked[identity].append(kind)
    return asked


def _pieces(questions: list[Question]) -> list[list[Question]]:
    return [questions[start : start + TURNS_AT_MOST] for start in range(0, len(questions), TURNS_AT_MOST)]


def training(
    pictures: Sequence[Picture], kinds: Sequence[str], forms: Sequence[str], stages: Sequence[str], seed: int
) -> list[Sample]:
    """Training samples of ``pictures``: captions, general, medical and mixed questions, in conversations and singly."""
    asked = asked_kinds(pictures, kinds, factor=2.0)
    plain = [form for form in ("open", "option-text") if form in forms]
    every = [form for form in FORMS if form in forms]
    samples: list[Sample] = []
    for picture in pictures:
        for stage in stages:
            chance = random.Random(stable_hash(seed, picture.id, stage))
            if stage == "pretrain":
                for number in range(2 if "caption" in forms and picture.facts else 0):
                    place = (2 * chance.randrange(2) + number) % len(wording.CAPTION_REQUESTS)
                    text = caption({kind: fact for kind, fact in picture.facts.items() if kind in kinds}, place)
                    request = wording.CAPTION_REQUESTS[place]
                    samples.append(
                        conversation(
                            picture, stage, f"{number}", [Question("caption", "caption", request, text, (text,))]
                        )
                    )
                continue
            topics = [
                kind
                for kind in asked[picture.id]
                if stage == "cross-domain" or (kind in GENERAL_KINDS) == (stage == "general")
            ]
            chosen = every if stage == "cross-domain" else plain
            if not topics or not chosen:
                continue
            # Every topic in conversations, twice in other words and forms, and one singly: the way a benchmark asks.
            weights = [{"open": 3, "option-text": 4, "option-letter": 4, "yes-no": 3}[form] for form in chosen]

            def draw(kind: str) -> Question:
                return ask(kind, picture.facts[kind], chance.choices(chosen, weights)[0], chance)  # noqa: B023

            groups = []
            for _ in range(ROUNDS):
                chance.shuffle(topics)
                groups += _pieces([draw(kind) for kind in topics])
            groups.append([draw(chance.choice(topics))])
            samples += [conversation(picture, stage, f"{number}", group) for number, group in enumerate(groups)]
    return samples


def held_out(pictures: Sequence[Picture], kinds: Sequence[str], forms: Sequence[str], seed: int) -> list[Sample]:
    """Single questions about ``pictures``: of every fact an open one, and beside it the other forms in fixed shares.

    For every nine facts: nine open questions, seven by option text, two by letter and two by yes or no.
    """
    asked = asked_kinds(pictures, kinds, factor=1.2)
    samples: list[Sample] = []
    for kind in kinds:
        about = [picture for picture in pictures if kind in asked[picture.id]]
        about.sort(key=lambda picture, kind=kind: stable_hash(seed, kind, picture.id))  # type: ignore[misc]
        for rank, picture in enumerate(about[:HELD_OUT_PER_KIND]):
            chance = random.Random(stable_hash(seed, picture.id, kind))
            wanted = ["open"]
            if rank % 9 not in (4, 8):
                wanted.append("option-text")
            if rank % 9 in (0, 5):
                wanted.append("option-letter")
            if rank % 9 in (2, 7):
                wanted.append("yes-no")
            for form in wanted:
                if form in forms:
                    question = ask(
                        kind,
                        picture.facts[kind],
                        form,
                        chance,
                        true=rank % 9 == 2,
                        slot=2 * (rank // 9) + rank % 9 // 5,
                    )
                    stage = "general" if kind in GENERAL_KINDS else "medical"
                    samples.append(conversation(picture, stage, f"{kind}-{form}", [question]))
    return samples


def text_samples(split: Split, forms: Sequence[str], stages: Sequence[str], seed: int) -> list[Sample]:
    """Text-only questions about ICD-10-CM categories of ``split``: their chapters and codes."""
    chosen = [category for category in icd.categories() if category.split == split]
    chosen.sort(key=lambda category: stable_hash(seed, category.code))
    samples: list[Sample] = []
    for rank, category in enumerate(chosen[:TRAIN_TEXTS]):
        stage = "cross-domain" if split == "train" and rank % 3 == 2 else "medical"
        available = [
            form
            for form in (TEXT_FORMS if stage == "cross-domain" or split != "train" else TEXT_FORMS[:2])
            if form in forms
        ]
        if stage not in stages or not available:
            continue
        for kind in icd.QUESTIONS:
            chance = random.Random(stable_hash(seed, category.code, kind))
            form = available[rank % len(available)]
            question = icd.question(category, kind, form, chance)
            samples.append(
                Sample(
                    id=f"icd-{category.code}/{stage}/{kind}-{form}",
                    turns=(
                        Turn(role="user", content=(question.prompt,)),
                        Turn(role="assistant", content=(question.answer,)),
                    ),
                    references=question.references,
                    options=question.options,
                    tags={
                        "kind": kind, "form": form, "modality": "text", "task_type": "knowledge", "split": split,
                        "source": "icd-10-cm", "study": f"icd-{category.code}", "image": f"icd-{category.code}",
                        "stage": stage, "language": "en",
                    },
                    licence=sources.LICENCES["simple_icd_10_cm"],
                )
            )  # fmt: skip
    return samples


ALL_KINDS = KINDS
ALL_FORMS = (*FORMS, "caption")
