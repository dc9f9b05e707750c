"""Optimizers, schedules and augmentations of plugins inside a stage of the ``staged`` trainer."""

from __future__ import annotations

import math
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from sft_fake_model import FakeBatches, FakeModel

from infimed_core import (
    ComponentError,
    InfimedError,
    Media,
    Sample,
    Stage,
    TrainingContext,
    Turn,
    augmentation,
    load_plugins,
    optimizer,
    schedule,
)
from infimed_core.plan.index import build_index
from infimed_core.plan.planning import plan_stage
from infimed_core.plan.rows import PlannedBatches
from infimed_core.store.dataset import Dataset
from infimed_core.testing import check_augmentation, check_optimizer, check_schedule, make_image, run
from infimed_plugins.sft.augmenting import Intensity, augmented
from infimed_plugins.sft.muon import Muon
from infimed_plugins.sft.parameters import make_optimizer
from infimed_plugins.sft.rates import rate_factor
from infimed_plugins.sft.stages import TrainingStage
from infimed_plugins.sft.trainer import StagedTrainer


@schedule
def rising(progress):
    """More and more."""
    return 1.0 + progress


@optimizer
def forgetful(groups):
    """The first group alone."""
    return torch.optim.SGD(groups[:1])


@optimizer
def flat(groups):
    """Without what the groups say."""
    return torch.optim.SGD([parameter for group in groups for parameter in group["params"]], lr=0.1)


class Counting(torch.optim.SGD):
    def step(self, closure=None):
        super().step()
        for held in self.state.values():
            held["count"] = 1


@optimizer
def counting(groups):
    """Keeps a number."""
    return Counting(groups, momentum=0.9)


@augmentation
def crop(image, generator):
    """A corner less."""
    return image[1:]


def parameters(seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"matrix": (6, 4), "bias": (6,), "table": (9, 4), "kernel": (4, 3, 2, 2)}
    return {name: torch.nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}


def test_muon_moves_matrices_as_torchs_muon_does_and_all_else_as_its_adamw_does():
    ours, theirs = parameters(), parameters()
    groups = {"language": ("matrix", "bias"), "embeddings": ("table",), "vision": ("kernel",)}
    built = Muon().build([
        {"params": [ours[name] for name in names], "lr": 0.02, "weight_decay": 0.1, "peak": 0.02, "name": group}
        for group, names in groups.items()
    ])  # fmt: skip
    muon = torch.optim.Muon([theirs["matrix"]], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    rest = [theirs[name] for name in ("bias", "table", "kernel")]
    adamw = torch.optim.AdamW(rest, lr=0.02, weight_decay=0.1, betas=(0.9, 0.95))
    for step in range(4):
        for both in (ours, theirs):
            for place, parameter in enumerate(both.values()):
                parameter.grad = torch.sin(torch.arange(parameter.numel()) + place + step).reshape(parameter.shape)
        for group in built.param_groups:
            group["lr"] = 0.02 / (step + 1)  # as the trainer sets it
        for group in (*muon.param_groups, *adamw.param_groups):
            group["lr"] = 0.02 / (step + 1)
        built.step()
        muon.step()
        adamw.step()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_share_that_a_schedule_gives_is_that_of_the_way_from_lowest_to_peak_after_the_warm_up():
    stage = TrainingStage(name="one", schedule="inverse-square-root", warmup=2, min_learning_rate_ratio=0.1)
    factors = [rate_factor(stage, step, 12) for step in range(12)]
    expected = [0.5, 1.0, *(0.1 + 0.9 / math.sqrt(1 + 10 * step / 10) for step in range(1, 11))]
    np.testing.assert_allclose(factors, expected, rtol=1e-12)


def test_a_schedule_that_leaves_its_bounds_is_named(monkeypatch):

    monkeypatch.setattr("infimed_plugins.sft.rates.schedule_of", lambda stage: rising())
    stage = TrainingStage(name="one", schedule={"use": "rising"}, warmup=0)
    with pytest.raises(ComponentError, match=r"stage 'one': rising.factor\(0.2500\) gave 1.25; return a number from"):
        rate_factor(stage, 0, 4)
    with pytest.raises(AssertionError, match="stay between 0 and 1"):
        check_schedule(rising())


def test_an_optimizer_that_loses_a_parameter_or_a_key_is_named(monkeypatch):

    chosen = {"language": parameters()}
    stage = TrainingStage(name="one", optimizer={"use": "mine"})
    for made in (forgetful, flat):
        monkeypatch.setattr("infimed_plugins.sft.parameters.optimizer_of", lambda _, made=made: made())
        with pytest.raises(ComponentError, match=rf"{made.__name__}.build: must give a torch.optim.Optimizer that has"):
            make_optimizer(chosen, stage)
        with pytest.raises(AssertionError, match=r"every parameter once|loses keys"):
            check_optimizer(made())
    with pytest.raises(AssertionError, match=r"keeps \['count'\] that are no tensors"):
        check_optimizer(counting())


def test_a_state_that_no_stage_could_go_on_from_ends_the_stage_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr("infimed_plugins.sft.parameters.optimizer_of", lambda _: counting())
    trainer = StagedTrainer(stages=({"name": "one", "save_every": 1},))
    context = TrainingContext(directory=tmp_path, seed=0, emit=lambda kind, payload: None)
    with pytest.raises(InfimedError, match="Counting holds 'count', which is no tensor"):
        trainer.train(FakeModel(), FakeBatches(), trainer.stages[0], context)


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("optimizer", "muom", "stages.0.optimizer.use: no optimizer is named 'muom'; did you mean 'muon'"),
        ("optimizer", {"use": "muon", "with": {"momentum": 2}}, "stages.0.optimizer.with.momentum"),
        ("schedule", "inverse-sqare-root", "no schedule is named 'inverse-sqare-root'; did you mean"),
        ("augmentations", ["intensity", "mirror"], "stages.0.augmentations.1.use: no augmentation is named 'mirror'"),
        ("objective", {"use": "grop"}, "no objective is named 'grop'; did you mean 'grpo'"),
    ],
)
def test_a_name_or_setting_that_is_not_known_is_told_before_anything_is_trained(tmp_path, setting, value, told):
    training = {"use": "staged", "with": {"stages": [{"name": "one", setting: value}]}}
    source = {"use": "demo-anatomy", "with": {"max_images": 2}}
    body = {"data": {"sources": [source]}, "model": {"use": "tiny-qwen3-vl"}, "training": training}
    with pytest.raises(InfimedError) as caught:
        run({"run": {"name": "r"}, **body}, tmp_path)
    assert told in str(caught.value) and not list(tmp_path.glob("runs/r/checkpoints"))


# -- images that vary ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The rows of a stage of two epochs over four samples, two of them with two equal images."""
    place = tmp_path_factory.mktemp("rows")
    registry = load_plugins()
    lines = []
    for number in range(4):
        image = make_image(40, 52)
        turn = Turn(role="user", content=(*((0, 1) if number < 2 else (0,)), "Which plane?"))
        media = tuple(Media(data=image) for _ in turn.media_indices)
        answer = Turn(role="assistant", content=("axial",))
        lines.append(Sample(id=f"s{number}", turns=(turn, answer), media=media).model_dump_json())
    (place / "samples.jsonl").write_text("\n".join(lines) + "\n")
    model = registry.make("model", "tiny-qwen3-vl")
    (place / "tiny").mkdir()
    encoder = model.encoder(model.prepare(place / "tiny", lambda: ["which plane axial"], 0))
    dataset, loader = Dataset(place / "samples.jsonl"), registry.media_loader()
    packer = registry.make("packer", "padded", {"batch_size": 1, "row_tokens": 4096})
    index = build_index(dataset, encoder, loader)
    stage = Stage(name="s", epochs=2.0)
    plan = plan_stage(
        index, stage, registry.make("resolution scheduler", "native"), packer, encoder, 0, np.ones(4, bool)
    )
    return PlannedBatches(dataset, plan, encoder, loader)


def pixels(batches):
    made = [batches.row(step, 0) for step in range(batches.num_steps)]
    return [(row.sample_ids[0], row.vision["pixel_values"]) for row in made]


def test_images_vary_from_draw_to_draw_and_are_the_same_whenever_a_draw_is_made_again(rows):
    plain, varied = pixels(rows), pixels(augmented(rows, [Intensity()], seed=1))
    again = pixels(pickle.loads(pickle.dumps(augmented(rows, [Intensity()], seed=1))))
    other = pixels(augmented(rows, [Intensity()], seed=2))
    assert [name for name, _ in plain] == [name for name, _ in varied] and len(plain) == 8
    by_name = {}
    for (name, before), (_, after), (_, second), (_, third) in zip(plain, varied, again, other, strict=True):
        assert before.shape == after.shape and not np.array_equal(before, after)
        assert np.array_equal(after, second) and not np.array_equal(after, third)
        by_name.setdefault(name, []).append(after)
    assert all(not np.array_equal(first, second) for first, second in by_name.values())
    assert pixels(rows)[0][1] is not None and np.array_equal(
        pixels(rows)[0][1], plain[0][1]
    )  # what was given is as it was
    assert augmented(rows, [], seed=1) is rows


def test_the_images_of_one_sample_vary_alike(rows):
    found = [(name, values) for name, values in pixels(augmented(rows, [Intensity()], seed=1)) if name in ("s0", "s1")]
    for _, values in found:
        first, second = np.split(np.asarray(values), 2)
        assert np.array_equal(first, second)


def test_an_image_of_another_shape_is_named_before_it_makes_another_row(rows):

    with pytest.raises(ComponentError, match=r"crop.augment: gave uint8 \(.*; return uint8 of shape"):
        augmented(rows, [crop()], seed=0).row(0, 0)
    with pytest.raises(AssertionError, match="augment"):
        check_augmentation(crop())


def test_augmentations_that_would_have_no_effect_are_refused():
    with pytest.raises(ValueError, match="augmentations vary no image of 'dpo', which makes its own rows"):
        TrainingStage(name="one", objective={"use": "dpo"}, augmentations=["intensity"])


def test_what_a_stage_names_is_part_of_what_is_trained_anew():
    plain = TrainingStage(name="one")
    for setting in ({"optimizer": "muon"}, {"schedule": "inverse-square-root"}, {"augmentations": ["intensity"]}):
        stage = TrainingStage(name="one", **setting)
        identities = [StagedTrainer(stages=(each,)).result_identity(each) for each in (plain, stage)]
        assert identities[0] != identities[1]
