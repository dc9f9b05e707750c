"""The fake model of the trainer's tests, drawing answers; and questions for it. Runs a training in its own process."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sft_fake_model import FakeModel, make_sample

from infimed_core import IGNORED_LABEL, DataError, Encoded, MediaLoader, Sample, Turn

END = 0


def question(index: int) -> Sample:
    turns = (Turn(role="user", content=(f"{index}",)), Turn(role="assistant", content=(f"{index % 7} {index % 5}",)))
    return Sample(id=f"question-{index}", turns=turns, meta={"rejected": f"{index % 3} {index % 4} {index % 2}"})


def prompt_of(identity: str, index: int) -> Encoded:
    """The sample's own prompt: picture and question, without an answer."""
    whole = make_sample(index)
    length = int(np.flatnonzero(whole.labels != IGNORED_LABEL)[0]) + 1
    return replace(
        whole,
        sample_id=identity,
        input_ids=whole.input_ids[:length],
        labels=np.full(length, IGNORED_LABEL),
        positions=whole.positions[:, :length],
        token_types=whole.token_types[:length],
    )


def with_answer(prompt: Encoded, tokens: list[int]) -> Encoded:
    size = len(prompt)
    ids = np.concatenate([prompt.input_ids, np.array(tokens, dtype=np.int64)])
    labels = np.full(len(ids), IGNORED_LABEL)
    labels[size - 1 : -1] = tokens
    types = np.concatenate([prompt.token_types, np.zeros(len(tokens), dtype=np.int64)])
    return replace(prompt, input_ids=ids, labels=labels, positions=np.arange(len(ids))[None], token_types=types)


class Encoder:
    """Encodes a pair's answers: numbers, each a token."""

    @staticmethod
    def decode_size(height, width, cap):
        return None

    def encode(self, sample, images, cap, shapes=None):
        index = int(sample.turns[0].text)
        return with_answer(
            prompt_of(sample.id, index), [int(word) + 1 for word in sample.turns[-1].text.split()] + [END]
        )


class DrawingModel(FakeModel):
    encoder = Encoder()
    pause = 0.0
    """Seconds between the answers to one question and to the next, each told, so that a test can kill in between."""

    def draw(self, prompts, count, generation, media):
        import time

        found: list = []
        for sample, _ in prompts:
            if self.pause:
                print("drawing", sample.id, flush=True)
                time.sleep(self.pause)
            index = int(sample.turns[0].text)
            if index % 11 == 10:
                found.append(DataError("truncated", f"{index}.png: ends early"))
                continue
            found.append([self._answer(f"{sample.id}#{k}", index, generation) for k in range(count)])
        return found

    def _answer(self, identity, index, generation):
        from infimed_core.plan.rows import assemble

        digest = hashlib.sha256(f"{generation.seed}|{identity}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        prompt, tokens = prompt_of(identity, index), []
        with torch.no_grad():
            while len(tokens) < generation.max_new_tokens and END not in tokens[-1:]:
                so_far = with_answer(prompt, tokens) if tokens else prompt
                hidden = self.hidden_states(assemble([so_far]))
                logits = self.output_embedding()(hidden[-1]) / generation.temperature
                tokens.append(int(torch.multinomial(logits.softmax(-1), 1, generator=generator)))
        return with_answer(prompt, tokens), " ".join(map(str, tokens)), tokens[-1] == END


class Questions:
    """``per_step`` questions in each step of the plan."""

    media = MediaLoader({})

    def __init__(self, num_steps: int = 4, per_step: int = 6) -> None:
        self.num_steps, self._per_step = num_steps, per_step

    @property
    def plan_hash(self) -> str:
        return f"questions {self.num_steps} {self._per_step}"

    def num_rows(self, step):
        return self._per_step

    def row(self, step, index):
        from infimed_core.plan.rows import assemble

        return assemble([make_sample(step * self._per_step + index)])

    def samples(self, step):
        return [(question(step * self._per_step + index), None) for index in range(self._per_step)]


def main(arguments: list[str]) -> None:
    """Train in a process of its own; arguments: directory, settings (JSON), weights' file, pause per step."""
    import time

    from safetensors.torch import save_file

    from infimed_core import TrainingContext
    from infimed_plugins.sft.trainer import StagedTrainer

    torch.set_num_threads(1)
    directory, settings, target, pause = arguments
    options = json.loads(settings)
    batches = Questions(**options.pop("questions", {}))
    own = {name: options.pop(name) for name in ("parallel",) if name in options}
    trainer = StagedTrainer(stages=({"name": "one", **options},), **own)

    def emit(kind, payload):
        if kind == "log":
            print("finished", payload["step"] - 1, flush=True)
            time.sleep(float(pause))

    model = DrawingModel()
    model.pause = float(pause) / 2
    context = TrainingContext(directory=Path(directory), seed=3, emit=emit, checkpoints=Path(directory + ".steps"))
    facts = trainer.train(model, batches, trainer.stages[0], context)
    if facts["rank"] == 0:
        save_file(model.weights(), target)
        Path(target).with_suffix(".json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1:])
