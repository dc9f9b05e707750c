"""Answers drawn by a real vLLM server while a small model learns: prompts, weights and log-probabilities agree.

``--python`` names an interpreter of an environment that has vLLM; a build for CPUs will do. The stage of ``grpo`` is
that of the tests, on a small Qwen3-VL with random weights, with images, in single precision.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from common import Results, main
from serving import SERVER, served

from infimed_core import (
    Generation,
    InfimedError,
    Media,
    MediaLoader,
    Reward,
    Rollout,
    Sample,
    Score,
    TrainingContext,
    Turn,
    assemble,
)
from infimed_core.testing import make_image
from infimed_plugins.image.modality import Image
from infimed_plugins.reinforcement.drawing import DrawingObjective
from infimed_plugins.reinforcement.server import RolloutServer, ServerDraws
from infimed_plugins.sft.trainer import StagedTrainer
from infimed_plugins.vlm.tiny import TinyQwen3VL

MEDIA = MediaLoader({"image": Image()})
REWARDS = [{"use": "strict-accuracy", "with": {"grader": {"use": "demo-vqa"}}}]
"""Those of the stage are replaced: a model with random weights would get none."""
CAP = 9
"""Most visual tokens of an image."""


def question(index: int) -> Sample:
    """A question with no image, one or two."""
    images = index % 3
    turns = (
        Turn(role="user", content=(*range(images), f"Which plane is slice {index} seen in?")),
        Turn(role="assistant", content=("axial",)),
    )
    media = tuple(Media(data=make_image(96, 96 + 32 * i, index + i)) for i in range(images))
    return Sample(id=f"question-{index}", turns=turns, media=media)


class Letters(Reward):
    """The share of letters: tells apart what a model with random weights says."""

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """From 0 to 1."""
        return [Score(value=sum(map(str.isalpha, one.text)) / max(1, len(one.text))) for one in rollouts]


class Questions:
    """Questions as the steps of a plan."""

    media = MEDIA

    def __init__(self, num_steps: int, per_step: int) -> None:
        self.num_steps, self._per_step, self.plan_hash = num_steps, per_step, f"{num_steps} {per_step}"

    def num_rows(self, step: int) -> int:
        """As many as questions."""
        return self._per_step

    def rows(self, step: int) -> list[Any]:
        """Empty ones: the objective makes its own."""
        return [assemble([])] * self._per_step

    def samples(self, step: int) -> list[tuple[Sample, int | None]]:
        """The questions of a step."""
        return [(question(step * self._per_step + index), CAP) for index in range(self._per_step)]


def tiny(folder: Path) -> tuple[TinyQwen3VL, Path]:
    """The model and its checkpoint."""
    source = TinyQwen3VL(
        hidden_size=64, layers=2, heads=2, key_value_heads=1, intermediate_size=128, vision_hidden_size=64,
        vision_layers=2, vision_heads=2, vision_intermediate_size=128,
    )  # fmt: skip
    texts = [turn.text for index in range(60) for turn in question(index).turns]
    return source, source.prepare(folder, lambda: texts, 0)


def greedy(model: Any, url: str, weights: Path) -> tuple[int, int]:
    """Answers that are the model's own to the token, of how many."""
    ask = ServerDraws(RolloutServer(base_url=url, weights=str(weights)))
    started = time.perf_counter()
    ask.take_over(model, 0, True, lambda value: [value])
    print(f"weights taken over in {time.perf_counter() - started:.2f} s", flush=True)
    prompts = [(question(index), CAP) for index in range(12)]
    likeliest = Generation(max_new_tokens=8, temperature=1e-4, seed=1)
    here, there = model.draw(prompts, 2, likeliest, MEDIA), ask.draw(model, prompts, 2, likeliest, MEDIA)
    pairs = [(a[0], b[0]) for own, other in zip(here, there, strict=True) for a, b in zip(own, other, strict=True)]
    return sum(a.input_ids.tolist() == b.input_ids.tolist() for a, b in pairs), len(pairs)


def trained(source: TinyQwen3VL, checkpoint: Path, url: str, folder: Path, steps: int) -> dict[str, Any]:
    """The facts of a stage whose answers the server draws."""
    server = {"base_url": url, "weights": str(folder / "policy"), "most_difference": 1e-2}
    given = {"rollouts": 4, "max_new_tokens": 8, "rewards": REWARDS, "server": server}
    stage = {"name": "one", "learning_rate": 3e-2, "objective": {"use": "grpo", "with": given}}
    trainer = StagedTrainer(stages=(stage,))
    context = TrainingContext(directory=folder / "state", seed=3, emit=lambda *_: None)
    with patch.object(DrawingObjective, "_rewards", {"letters": (1.0, Letters())}):
        return trainer.train(source.load(checkpoint), Questions(steps, 6), trainer.stages[0], context)


def measure(results: Results, arguments: argparse.Namespace) -> None:
    """Greedy answers, then a stage; and a server whose weights are not renewed is found."""
    os.environ["VLLM_SERVER_DEV_MODE"] = SERVER["VLLM_SERVER_DEV_MODE"] = "1"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source, checkpoint = tiny(folder / "tiny")
        with served(arguments.python, checkpoint, folder / "server.log") as url:
            same, asked = greedy(source.load(checkpoint), url, folder / "policy")
            results.target("greedy answers that are the model's own to the token", same / asked, "== 1")
            facts = trained(source, checkpoint, url, folder, arguments.steps)
            differences = [entry["server_difference"] for entry in facts["curve"]]
            results.details |= {"asked": asked, "server_difference": differences}
            results.target("largest difference of log-probabilities of a step", max(differences), "<= 0.001")
            results.target("weights that are not renewed are found", stale(source, checkpoint, url, folder), "== true")


def stale(source: TinyQwen3VL, checkpoint: Path, url: str, folder: Path) -> bool:
    """Whether a stage stops that sends no weights to the server, which has those of the stage before."""

    def nothing(own: ServerDraws, *_: Any) -> None:
        own._model = str(checkpoint)

    try:
        with patch.object(ServerDraws, "take_over", nothing):
            trained(source, checkpoint, url, folder / "stale", 2)
    except InfimedError as error:
        print(error)
        return "by the weights" in str(error)
    return False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this script."""
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has vLLM")
    parser.add_argument("--steps", type=int, default=6)


if __name__ == "__main__":
    main("reinforcement_server", measure, add_arguments)
