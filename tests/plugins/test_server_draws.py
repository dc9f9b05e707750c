"""A server that draws answers gives what the model would, by the weights as they are, or the run stops in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from forked import start

from infimed_core import (
    Generation,
    InfimedError,
    Media,
    MediaLoader,
    Reward,
    Sample,
    Score,
    TrainingContext,
    Turn,
    assemble,
)
from infimed_core.testing import make_image
from infimed_plugins.image.modality import Image
from infimed_plugins.reinforcement.dpo import Dpo
from infimed_plugins.reinforcement.drawing import DrawingObjective
from infimed_plugins.reinforcement.grpo import Grpo
from infimed_plugins.reinforcement.server import RolloutServer, ServerDraws
from infimed_plugins.sft.trainer import StagedTrainer
from infimed_plugins.vlm.tiny import TinyQwen3VL

pytestmark = pytest.mark.usefixtures("one_thread")
LANGUAGE = [{"use": "language", "with": {}}]
MEDIA = MediaLoader({"image": Image()})
TINY = TinyQwen3VL(
    hidden_size=32, layers=2, heads=2, key_value_heads=1, intermediate_size=64, vision_hidden_size=32,
    vision_layers=2, vision_heads=2, vision_intermediate_size=64,
)  # fmt: skip


class Letters(Reward):
    """The share of letters: tells apart what a model with random weights says."""

    def score(self, rollouts):
        return [Score(value=sum(map(str.isalpha, one.text)) / max(1, len(one.text))) for one in rollouts]


def question(index, images=None):
    images = index % 3 if images is None else images
    turns = (
        Turn(role="user", content=(*range(images), f"Which plane is slice {index} seen in?")),
        Turn(role="assistant", content=("axial",)),
    )
    media = tuple(Media(data=make_image(64, 96 + 32 * i, index + i)) for i in range(images))
    return Sample(id=f"question-{index}", turns=turns, media=media)


class Questions:
    """Questions with no image, one, and two, as the steps of a plan."""

    media = MEDIA

    def __init__(self, num_steps=2, per_step=3):
        self.num_steps, self._per_step = num_steps, per_step
        self.plan_hash = f"questions {num_steps} {per_step}"

    def num_rows(self, step):
        return self._per_step

    def rows(self, step):
        return [assemble([])] * self._per_step

    def samples(self, step):
        return [(question(step * self._per_step + index), 9) for index in range(self._per_step)]


class Served:
    """A server of its own process."""

    def __init__(self, checkpoint, port=0):
        script = Path(__file__).parent / "drawing_server.py"
        self.process = start([str(script), str(checkpoint), str(port)])
        self.port = next(int(line) for line in self.process.lines() if line.strip().isdigit())
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def fault(self, what):
        httpx.post(f"http://127.0.0.1:{self.port}/fault", json={"fault": what}, timeout=60)

    @property
    def state(self):
        return httpx.get(f"http://127.0.0.1:{self.port}/state", timeout=60).json()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    texts = [turn.text for index in range(30) for turn in question(index).turns]
    return TINY.prepare(tmp_path_factory.mktemp("tiny"), lambda: texts, 0)


@pytest.fixture(scope="module")
def served(checkpoint):
    server = Served(checkpoint)
    yield server
    server.process.kill()


@pytest.fixture
def server(served, monkeypatch):
    served.fault("")
    monkeypatch.setattr(DrawingObjective, "_rewards", {"letters": (1.0, Letters())})
    return served


def settings(server, **more):
    return {"base_url": server.url, "most_difference": 1e-3, "timeout_seconds": 600, **more}


def train(checkpoint, directory, server, use="grpo", questions=None, lora=None, stage=None, **objective):
    given = {"rollouts": 4, "max_new_tokens": 6, "rewards": LANGUAGE, "server": settings(server)} | objective
    options = {"name": "one", "learning_rate": 3e-2, "objective": {"use": use, "with": given}, **(stage or {})}
    trainer = StagedTrainer(stages=(options | ({"lora": lora} if lora else {}),))
    context = TrainingContext(directory=directory, seed=3, emit=lambda *_: None, checkpoints=Path(f"{directory}.steps"))
    model = TINY.load(checkpoint)
    return model, trainer.train(model, questions or Questions(), trainer.stages[0], context)


def drawer(server, model, **more):
    found = ServerDraws(RolloutServer(**settings(server, **more)))
    found.take_over(model, 0, True, lambda value: [value])
    return found


def test_a_server_draws_the_tokens_that_the_model_itself_would(checkpoint, server):
    model = TINY.load(checkpoint)
    prompts = [(question(index), 9) for index in range(6)]
    likeliest = Generation(max_new_tokens=6, temperature=1e-4, seed=1)
    here = model.draw(prompts, 2, likeliest, MEDIA)
    there = drawer(server, model).draw(model, prompts, 2, likeliest, MEDIA)
    for own, other in zip(here, there, strict=True):
        for (a, text, ended), (b, words, stopped) in zip(own, other, strict=True):
            assert (text, ended) == (words, stopped) and a.sample_id == b.sample_id
            for name in ("input_ids", "labels", "positions", "token_types"):
                assert np.array_equal(getattr(a, name), getattr(b, name)), name
            assert all(np.array_equal(a.vision[name], b.vision[name]) for name in a.vision)


def test_draws_of_a_server_depend_on_seed_and_question_and_not_on_what_is_asked_beside(checkpoint, server):
    model = TINY.load(checkpoint)
    ask = drawer(server, model)
    prompts = [(question(index), 9) for index in range(3)]
    generation = Generation(max_new_tokens=8, temperature=1.0, seed=5)

    def tokens(asked, seed=5):
        drawn = ask.draw(model, asked, 3, generation.model_copy(update={"seed": seed}), MEDIA)
        return [[answer[0].input_ids.tolist() for answer in group] for group in drawn]

    together = tokens(prompts)
    assert together == [tokens([prompt])[0] for prompt in prompts] and together != tokens(prompts, 6)
    assert len({tuple(ids) for ids in together[0]}) > 1


@pytest.mark.parametrize("use", ["grpo", "dpo"])
def test_every_step_is_drawn_by_the_weights_as_they_are(checkpoint, server, tmp_path, use):
    before = server.state["loaded"]
    model, facts = train(checkpoint, tmp_path / "a", server, use, Questions(3))
    differences = [entry["server_difference"] for entry in facts["curve"]]
    assert len(differences) == 3 and max(differences) < 1e-4
    assert server.state["loaded"] == before + 3
    first = TINY.load(checkpoint)
    assert any((a != b).any() for a, b in zip(model.module.parameters(), first.module.parameters(), strict=True))


def test_pictures_of_a_step_before_are_drawn_for_again_by_the_new_weights(checkpoint, server):
    model, likeliest = TINY.load(checkpoint), Generation(max_new_tokens=6, temperature=1e-4, seed=1)
    ask, prompts = drawer(server, model), [(question(index), 9) for index in range(3)]
    ask.draw(model, prompts, 1, likeliest, MEDIA)
    ask.take_over(model, 1, True, lambda value: [value])
    (here, there) = model.draw(prompts, 1, likeliest, MEDIA), ask.draw(model, prompts, 1, likeliest, MEDIA)
    assert [group[0][1:] for group in here] == [group[0][1:] for group in there]


def test_an_adapter_is_sent_by_itself(checkpoint, server, tmp_path):
    pytest.importorskip("peft")
    _, facts = train(checkpoint, tmp_path / "a", server, lora={"rank": 4, "groups": ["language"]})
    assert max(entry["server_difference"] for entry in facts["curve"]) < 1e-4
    assert "/v1/load_lora_adapter" in server.state["paths"]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("stale", "does not answer by the weights that were sent"),
        ("no development mode", "replied to /collective_rpc with 404.*VLLM_SERVER_DEV_MODE=1"),
        ("no tokens", r"tells no tokens of its answers \(return_token_ids\)"),
        ("other prompt", r"reads '0/question-0' as \d+ tokens.*other from token 1 on.*chat template"),
    ],
)
def test_a_server_that_lacks_what_is_needed_stops_the_run_in_one_line(checkpoint, server, tmp_path, fault, told):
    server.fault(fault)
    with pytest.raises(InfimedError, match=told) as found:
        train(checkpoint, tmp_path / "a", server, questions=Questions(4))
    assert "\n" not in str(found.value)


def test_a_server_that_dies_among_the_draws_stops_the_run_and_the_next_goes_on(checkpoint, server, tmp_path):
    whole, facts = train(checkpoint, tmp_path / "whole", server, questions=Questions(4), stage={"save_every": 1})
    dying = Served(checkpoint)
    dying.fault("dies")
    with pytest.raises(InfimedError, match=f"127.0.0.1:{dying.port}/v1, does not answer .*; start it again") as found:
        train(checkpoint, tmp_path / "b", dying, questions=Questions(4), stage={"save_every": 1})
    assert "\n" not in str(found.value)
    again = Served(checkpoint, dying.port)
    try:
        model, told = train(checkpoint, tmp_path / "b", again, questions=Questions(4), stage={"save_every": 1})
    finally:
        again.process.kill()
    assert told["resumed_from"] > 0 and told["curve"] == facts["curve"]
    for name, weight in model.module.state_dict().items():
        assert (weight == whole.module.state_dict()[name]).all(), name


def test_what_cannot_work_is_told_before():
    url = {"base_url": "http://127.0.0.1:8000/v1"}
    assert "rewards" in Dpo(server=url).problems({})["server"]
    assert "server" not in Dpo(server=url, rewards=LANGUAGE).problems({})
    assert Grpo(rewards=LANGUAGE).identity() == Grpo(rewards=LANGUAGE, server=None).identity()
    for wrong in ("127.0.0.1:8000", "http://me:secret@127.0.0.1/v1", "ftp://a"):
        with pytest.raises(ValueError, match="must"):
            RolloutServer(base_url=wrong)


def test_identified_samples_do_not_leave_this_machine(checkpoint):
    model = TINY.load(checkpoint)
    for place, tags, leaves in (
        ("http://10.0.0.1:9/v1", {"identity": "unchecked"}, False),
        ("http://10.0.0.1:9/v1", {" Identity": "unchecked"}, False),
        ("http://127.0.0.1:9/v1", {"identity": "unchecked"}, True),
        ("http://10.0.0.1:9/v1", {"identity": "clear"}, True),
    ):
        ask = ServerDraws(RolloutServer(base_url=place, model="m"))
        sent = []
        ask._ask = lambda body, sent=sent: sent.append(body) or {}
        sample = question(1).model_copy(update={"tags": tags})
        with pytest.raises(InfimedError, match="gave no answers" if leaves else "tagged identity: unchecked"):
            ask.draw(model, [(sample, 9)], 2, Generation(temperature=1.0), MEDIA)
        assert bool(sent) == leaves


def test_weights_of_the_step_before_are_removed(checkpoint, server, tmp_path):
    model, ask = TINY.load(checkpoint), drawer(server, TINY.load(checkpoint), weights=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["infimed-policy-1"]
    ask.take_over(model, 1, True, lambda value: [value])
    assert [path.name for path in tmp_path.iterdir()] == ["infimed-policy-2"]
