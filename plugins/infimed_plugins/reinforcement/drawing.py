"""Groups of answers to one question, drawn by the model that is trained and graded by rewards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, JsonValue, ValidationError

from infimed_core import (
    Component,
    ComponentRef,
    DataError,
    Encoded,
    Fault,
    Generation,
    InfimedError,
    Media,
    Objective,
    Reward,
    Rollout,
    Sample,
    Score,
    StageAccess,
    load_plugins,
)
from infimed_plugins.reinforcement.rows import packed
from infimed_plugins.reinforcement.server import RolloutServer, ServerDraws


class WeightedReward(ComponentRef):
    """A reward and its weight in the sum."""

    weight: float = Field(default=1.0, allow_inf_nan=False, description="The score is multiplied by it.")


@dataclass(frozen=True)
class Group:
    """The answers to one question.

    Attributes:
        place: of the question in its step.
        answers: each answer with its prompt, encoded, a loss on what was drawn.
        totals: the reward of each answer.
        scores: by reward, the score of each answer.
    """

    place: int
    sample: Sample
    answers: list[Encoded]
    rollouts: list[Rollout]
    totals: list[float]
    scores: dict[str, list[Score]] = field(default_factory=dict)

    @property
    def differs(self) -> bool:
        """Whether some answer has another reward than the others, so that there is something to learn."""
        return max(self.totals) - min(self.totals) > 1e-9


class DrawingObjective(Objective):
    """An objective whose answers the model draws while it trains."""

    makes_rows: ClassVar[bool] = True

    temperature: float = Field(default=1.0, gt=0.0, description="Temperature at which answers are drawn.")
    max_new_tokens: int = Field(default=256, ge=1, description="Longest answer, in tokens.")
    questions_at_once: int = Field(
        default=8, ge=1, description="Questions whose answers are drawn in one batch; fewer need less memory."
    )
    row_tokens: int = Field(default=4096, ge=1, description="Most tokens of answers and prompts in one row.")
    server: RolloutServer | None = Field(
        default=None,
        exclude_if=lambda server: server is None,
        description="A vLLM server that draws the answers; null lets the model that learns draw them.",
    )

    @property
    def sampling_temperature(self) -> float:
        """As answers are drawn."""
        return self.temperature

    @property
    def weighted(self) -> tuple[WeightedReward, ...]:
        """The rewards with their weights."""
        raise NotImplementedError

    @cached_property
    def _rewards(self) -> dict[str, tuple[float, Reward]]:
        found: dict[str, tuple[float, Reward]] = {}
        for reward in self.weighted:
            made: Any = load_plugins().make("reward", reward.use, reward.settings)
            name = reward.use if reward.use not in found else f"{reward.use}-{len(found) + 1}"
            found[name] = (reward.weight, made)
        return found

    @cached_property
    def _server(self) -> ServerDraws | None:
        return ServerDraws(self.server) if self.server is not None else None

    def identity(self) -> str:
        """With the rewards' own identities."""
        return "|".join([super().identity(), *(reward.identity() for _, reward in self._rewards.values())])

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """A reward that is not installed, or whose settings are wrong."""
        told: dict[str, str] = {}
        if self.server is not None and not self.draws:
            told["server"] = "nothing is drawn without rewards; take server out, or name rewards"
        for number, reward in enumerate(self.weighted):
            try:
                made = load_plugins().make("reward", reward.use, reward.settings)
                told |= {f"rewards.{number}.with.{key}": text for key, text in made.problems(run).items()}
            except ValidationError as error:
                for item in error.errors(include_url=False):
                    place = ".".join(map(str, item["loc"]))
                    told[f"rewards.{number}.with" + (f".{place}" if place else "")] = item["msg"]
            except InfimedError as error:
                told[f"rewards.{number}"] = str(error)
        return told

    def draw_groups(
        self, step: int, samples: Sequence[tuple[Sample, int | None]], first: int, count: int, stage: StageAccess
    ) -> Iterator[Group | Fault]:
        """This rank's groups of ``count`` answers to the questions of a step, of which the first has place ``first``.

        Batches of questions are dealt to the ranks in turn, so that what is asked together depends on no rank.
        """
        batches = range(0, len(samples), self.questions_at_once)
        generation = Generation(
            max_new_tokens=self.max_new_tokens, temperature=self.temperature, seed=_seed(stage.seed, step)
        )
        for start in list(batches)[stage.rank :: stage.size]:
            batch = samples[start : start + self.questions_at_once]
            prompts = [(_question(sample, f"{first + start + i}"), cap) for i, (sample, cap) in enumerate(batch)]
            if self._server is None:
                drawn = stage.model.draw(prompts, count, generation, stage.media)
            else:
                drawn = self._server.draw(stage.model, prompts, count, generation, stage.media)
            good = [i for i, answers in enumerate(drawn) if not isinstance(answers, DataError)]
            yield from (
                Fault(sample_id=sample.id, code=error.code, detail=str(error))
                for (sample, _), error in zip(batch, drawn, strict=True)
                if isinstance(error, DataError)
            )
            yield from self._graded([(first + start + i, batch[i][0], drawn[i]) for i in good])

    def send_weights(self, step: int, stage: StageAccess) -> None:
        """Let the server, if there is one, take over the weights that the answers of this step are drawn by."""
        if self._server is not None:
            self._server.take_over(stage.model, step, stage.rank == 0, stage.gather)

    def server_difference(self, groups: Sequence[Group], stage: StageAccess) -> dict[str, JsonValue]:
        """How far the server's log-probabilities are from the trainer's, by one question of each rank; for the curve.

        Raises:
            InfimedError: so far that the server cannot have these weights.
        """
        if self._server is None:
            return {}
        answers = groups[0].answers if groups else []
        rows = packed([[(one, 0.0, True)] for one in answers], self.row_tokens, not stage.model.can_pack()[0])
        here = [value for row in stage.log_probabilities(rows, reference=False) for value in row.tolist()]
        there = [value for one in answers for value in self._server.log_probabilities[one.sample_id]]
        parts = stage.gather([float(np.abs(np.subtract(here, there)).sum()), len(here)])
        difference = sum(part[0] for part in parts) / max(1, sum(part[1] for part in parts))
        self._server.check(difference, self.sampling_temperature)
        return {"server_difference": difference}

    def _graded(self, drawn: Sequence[tuple[int, Sample, Any]]) -> Iterator[Group]:
        rollouts = [
            Rollout(sample, text, encoded.num_supervised, finished)
            for _, sample, answers in drawn
            for encoded, text, finished in answers
        ]
        scores = {name: _scored(reward, rollouts) for name, (_, reward) in self._rewards.items()} if rollouts else {}
        start = 0
        for place, sample, answers in drawn:
            span = slice(start, start := start + len(answers))
            own = {name: values[span] for name, values in scores.items()}
            totals = [0.0] * len(answers)
            for name, values in own.items():
                weight = self._rewards[name][0]
                totals = [total + weight * value for total, value in zip(totals, filled(values), strict=True)]
            yield Group(place, sample, [encoded for encoded, _, _ in answers], rollouts[span], totals, own)

    def is_accuracy(self, name: str) -> bool:
        """Whether a reward says what is right."""
        return type(self._rewards[name][1]).is_accuracy


def filled(scores: Sequence[Score]) -> list[float]:
    """Values of a group's scores; what could not be scored takes the mean of what could, so that it neither gains nor
    loses by it (0 where nothing could)."""
    known = [score.value for score in scores if score.value is not None]
    mean = sum(known) / len(known) if known else 0.0
    return [mean if score.value is None else score.value for score in scores]


def _scored(reward: Reward, rollouts: Sequence[Rollout]) -> list[Score]:
    scores = reward.score(rollouts)
    if not isinstance(scores, list) or len(scores) != len(rollouts) or not all(isinstance(s, Score) for s in scores):
        name = f"{type(reward).__module__}.{type(reward).__qualname__}.score"
        raise InfimedError(f"{name} must return a list with one Score for each of {len(rollouts)} rollouts")
    return scores


def _question(sample: Sample, place: str) -> Sample:
    """The sample without its last answer; its place makes the draws of a repeated sample others.

    Raises:
        InfimedError: the sample ends with no answer.
    """
    if len(sample.turns) < 2 or sample.turns[-1].role != "assistant":
        raise InfimedError(f"sample '{sample.id}' does not end with an answer, so there is no question to draw one for")
    return sample.model_copy(update={"id": f"{place}/{sample.id}", "turns": sample.turns[:-1]})


def _seed(seed: int, step: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=6).digest(), "big")


def _place_in_run(item: Media) -> str:
    """Where a medium is; of one that the run itself holds the place in its folder, which may be moved."""
    uri = item.uri or ""
    at = uri.find(f"media/{item.sha256[:2]}/{item.sha256}") if item.sha256 else -1
    return uri[at:] if at > 0 else uri


def line_of(step: int, group: Group, values: Mapping[str, Sequence[float]], outcome: str) -> dict[str, JsonValue]:
    """What people are shown of a group: the question, its images, and every answer with rewards and ``values``."""
    question = [turn for turn in group.sample.turns[:-1] if turn.role == "user"][-1:]
    return {
        "step": step + 1,
        "id": group.sample.id,
        "question": question[0].text if question else "",
        "media": [
            {**item.model_dump(mode="json", exclude={"data"}), "uri": _place_in_run(item)}
            for item in group.sample.media
            if item.uri
        ],
        "reference": group.sample.turns[-1].text,
        "outcome": outcome,
        "rollouts": [
            {
                "text": rollout.text,
                "tokens": rollout.num_tokens,
                "finished": rollout.finished,
                "reward": total,
                "parts": {name: scores[i].value for name, scores in group.scores.items()},
                "reasons": {name: list(s[i].reasons) for name, s in group.scores.items() if s[i].reasons},
                **{name: numbers[i] for name, numbers in values.items()},
            }
            for i, (rollout, total) in enumerate(zip(group.rollouts, group.totals, strict=True))
        ],
    }
