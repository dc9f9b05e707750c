"""Checks of what learns and what it learns by: encoders, models, trainers, objectives, rewards."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infimed_core import contracts
from infimed_core.api.data import Sample, Score
from infimed_core.api.learning import Augmentation, Optimizer, Schedule
from infimed_core.api.models import IGNORED_LABEL, Encoded, Encoder, Model, Request, TrainableModel
from infimed_core.api.objectives import Objective, Reward, Rollout
from infimed_core.api.training import Stage, Trainer, TrainingContext
from infimed_core.plan.rows import assemble
from infimed_core.plugins import load_plugins
from infimed_core.testing.made import check_component, make_sample, require, some_samples, twice
from infimed_core.train.isolation import packed_against_alone


def check_encoder(encoder: Encoder, samples: Sequence[Sample] | None = None) -> list[Encoded]:
    """Predicted lengths are those of what is encoded, under any cap; placeholders match the images, without loss."""
    copy: Encoder = pickle.loads(pickle.dumps(encoder))  # our own object, made a line above
    require(copy.identity == encoder.identity, encoder, "identity", "is another after pickling")
    samples, media = some_samples(samples), load_plugins().media_loader()
    lengths = encoder.text_lengths(samples)
    made: list[Encoded] = []
    for cap in (None, 64, 4):
        for place, sample in enumerate(samples):
            images = [media.load(sample.media[n]) for turn in sample.turns for n in turn.media_indices]
            shapes = np.array([image.shape[:2] for image in images], dtype=np.int64).reshape(-1, 2)
            visual, _ = encoder.visual_sizes(shapes[:, 0], shapes[:, 1], cap)
            encoded = encoder.encode(sample, images, cap)
            of = f"for '{sample.id}' under a cap of {cap}"
            expected = int(lengths.tokens[place] + visual.sum())
            what = f"gave {len(encoded)} tokens {of}; text_lengths and visual_sizes say {expected}"
            require(len(encoded) == expected, encoder, "encode", what)
            what = f"gave {encoded.num_supervised} labels {of}; text_lengths says {lengths.supervised[place]}"
            require(encoded.num_supervised == lengths.supervised[place], encoder, "encode", what)
            what = f"gave images of {encoded.visual_tokens} placeholders {of}; visual_sizes says {visual.tolist()}"
            require(encoded.visual_tokens == tuple(visual.tolist()), encoder, "encode", what)
            what = f"marks {(encoded.token_types == 1).sum()} placeholders {of}, and the images have {visual.sum()}"
            require((encoded.token_types == 1).sum() == visual.sum(), encoder, "encode", what)
            on_image = (encoded.labels[:-1] != IGNORED_LABEL) & (encoded.token_types[1:] == 1)
            require(not on_image.any(), encoder, "encode", f"puts loss on image placeholders {of}")
            what = f"puts a label on the last token {of}; labels are shifted, and the last is ignored"
            require(encoded.labels[-1] == IGNORED_LABEL, encoder, "encode", what)
            made.append(encoded)
    return made


def check_trainable_model(model: TrainableModel, samples: Sequence[Sample] | None = None) -> None:
    """Its encoder keeps its promises, samples in one row give what they give alone, gradients reach the parameters,
    every parameter is in one group, and a checkpoint is saved."""
    encoded = check_encoder(model.encoder, samples)
    if model.can_pack()[0]:
        difference, tolerance = packed_against_alone(model, encoded[-3:])
        what = f"gives logits in a packed row that differ by {difference:.1e} from those alone; let can_pack say no"
        require(difference <= tolerance, model, "hidden_states", what)
    model.hidden_states(assemble(encoded[:1])).float().pow(2).sum().backward()
    parameters = dict(model.module.named_parameters())
    reached = [name for name, parameter in parameters.items() if parameter.grad is not None]
    require(reached, model, "hidden_states", "gives no gradient to any parameter; leave it differentiable")
    model.module.zero_grad()
    grouped = sorted(name for names in model.parameter_groups().values() for name in names)
    wrong = sorted(set(grouped) ^ set(parameters)) or [name for name in grouped if grouped.count(name) > 1]
    require(not wrong, model, "parameter_groups", f"must have each parameter once; wrong: {wrong[:3]}")
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        require(list(Path(folder).iterdir()), model, "save", "wrote nothing; write a complete checkpoint")


def check_model(model: Model, samples: Sequence[Sample] | None = None) -> None:
    """It is prepared and opened, every request gets one answer, and what can be trained keeps its promises too."""
    check_component(model)
    given = some_samples(samples)
    requests = [Request(sample_id=sample.id, turns=sample.turns[:1], media=sample.media) for sample in given]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = model.prepare(Path(folder), lambda: (turn.text for s in given for turn in s.turns), 0)
        loaded = model.load(checkpoint)
        answers = list(loaded.answer(requests, load_plugins().media_loader()))
        told = sorted(contracts.checked_answer(loaded, answer) for answer in answers)
        what = f"answers {told}; answer each of {[request.sample_id for request in requests]} once"
        require(told == sorted(request.sample_id for request in requests), loaded, "answer", what)
        require(loaded.identity == loaded.identity, loaded, "identity", "is another each time")
        if model.trainable and checkpoint is not None:
            same = model.encoder(checkpoint).identity == loaded.encoder.identity  # type: ignore[attr-defined]
            require(same, model, "encoder", "is another than that of the loaded model")
            check_trainable_model(loaded, samples)  # type: ignore[arg-type]


class _Steps:
    """The rows of a made-up stage: two steps of one row."""

    plan_hash, num_steps = "made up", 2

    def __init__(self, encoder: Encoder) -> None:
        self.media = load_plugins().media_loader()
        self._samples = some_samples(None)
        images = [[self.media.load(item) for item in sample.media] for sample in self._samples]
        self._row = assemble([encoder.encode(*pair, 16) for pair in zip(self._samples, images, strict=True)])

    def samples(self, step: int) -> list[tuple[Sample, int | None]]:
        return [(sample, 16) for sample in self._samples]

    def rows(self, step: int) -> list[Any]:
        return [self._row]

    def num_rows(self, step: int) -> int:
        return 1

    def row(self, step: int, index: int) -> Any:
        return self._row


def check_trainer(trainer: Trainer, model: Model) -> None:
    """Stages are named, two steps of a small stage change the weights, and the facts can be recorded."""
    check_component(trainer)
    wrong = contracts.wrong_stages(trainer)
    require(not wrong, trainer, "stage_list", wrong)
    with tempfile.TemporaryDirectory() as folder:
        samples = some_samples(None)
        checkpoint = model.prepare(Path(folder), lambda: (turn.text for s in samples for turn in s.turns), 0)
        loaded: Any = model.load(checkpoint)
        before = [parameter.detach().clone() for parameter in loaded.module.parameters()]
        state = Path(folder) / "state"
        state.mkdir()
        stage: Stage = trainer.stage_list[0]
        context = TrainingContext(directory=state, seed=0, emit=lambda *_: None)
        facts = trainer.train(loaded, _Steps(loaded.encoder), stage, context)
        _, lines = contracts.checked_facts(trainer, facts)
        require(not lines, trainer, "train", "; ".join(lines))
        pairs = zip(before, loaded.module.parameters(), strict=True)
        changed = any(not bool((old == new).all()) for old, new in pairs)
        require(changed, trainer, "train", "changed no weight in two steps; step an optimizer")


def check_objective(objective: Objective, encoder: Encoder) -> None:
    """Positions carry labels, weights and losses are finite, one for each position, and losses are differentiable.

    Of an objective that makes its own rows only the settings are checked: its rows carry what other rows lack.
    """
    import torch

    check_component(objective)
    require(objective.num_updates >= 1, objective, "num_updates", "is less than 1")
    if objective.makes_rows:
        return
    row = _Steps(encoder).row(0, 0)
    positions, weights, amount = objective.targets(row)
    require(len(positions) == len(weights), objective, "targets", f"gives {len(weights)} weights for {len(positions)}")
    require((row.labels[positions] != IGNORED_LABEL).all(), objective, "targets", "names positions without a label")
    require(np.isfinite(weights).all() and amount > 0, objective, "targets", "gives weights or amount that are none")
    log_probabilities = torch.linspace(-3.0, -0.1, len(positions), requires_grad=True)
    losses, measures = objective.losses(row, log_probabilities)
    require(losses.shape == log_probabilities.shape, objective, "losses", f"gives shape {tuple(losses.shape)}")
    require(bool(torch.isfinite(losses).all()), objective, "losses", "gives losses that are not finite")
    require(losses.requires_grad, objective, "losses", "cannot be differentiated; compute with torch alone")
    short = [name for name, values in measures.items() if len(values) != len(positions)]
    require(
        not short, objective, "losses", f"gives the measure {short[:1]} for other than the {len(positions)} positions"
    )


def check_optimizer(optimizer: Optimizer) -> None:
    """Every parameter is in it once, in groups with all their keys; a step moves them all; its state is tensors."""
    import torch

    check_component(optimizer)
    shapes: dict[str, list[tuple[int, ...]]] = {"first": [(8, 6), (6,)], "second": [(5, 6)], "third": [(4, 3, 2, 2)]}
    groups: list[dict[str, Any]] = [
        {"params": [torch.nn.Parameter(torch.ones(shape)) for shape in of], "lr": 0.1, "weight_decay": 0.0, "peak": 0.1}
        | {"name": name}
        for name, of in shapes.items()
    ]
    given = [parameter for group in groups for parameter in group["params"]]
    built = optimizer.build(groups)
    held = [parameter for group in built.param_groups for parameter in group["params"]]
    require(sorted(map(id, held)) == sorted(map(id, given)), optimizer, "build", "has not every parameter once")
    kept = all({"name", "peak", "lr"} <= set(group) for group in built.param_groups)
    require(kept, optimizer, "build", "loses keys of the groups that it is given; keep them in param_groups")
    for _ in range(2):
        for place, parameter in enumerate(given):
            parameter.grad = torch.linspace(-1.0, 2.0 + place, parameter.numel()).reshape(parameter.shape)
        built.step()
        built.zero_grad()
    still = [tuple(p.shape) for p in given if bool((p == 1).all()) or not bool(torch.isfinite(p).all())]
    require(not still, optimizer, "step", f"leaves parameters of the shapes {still} where they are, or not finite")
    entries = [(entry, value) for state in built.state.values() for entry, value in state.items()]
    wrong = sorted({entry for entry, value in entries if not torch.is_tensor(value)})
    require(not wrong, optimizer, "step", f"keeps {wrong} that are no tensors, so that no stage goes on from its state")


def check_schedule(schedule: Schedule) -> None:
    """Shares from 0 to 1, the same each time."""
    check_component(schedule)
    for progress in (0.001, 0.25, 0.5, 0.75, 0.999, 1.0):
        share = schedule.factor(progress)
        require(0.0 <= share <= 1.0, schedule, "factor", f"gave {share!r} at {progress}; stay between 0 and 1")
        require(share == schedule.factor(progress), schedule, "factor", "gives another share each time")


def check_augmentation(augmentation: Augmentation) -> None:
    """An image of the same shape, decided by the image and the generator alone; what it is given stays as it is."""
    check_component(augmentation)
    for shape in ((24, 36, 3), (1, 1, 3)):
        image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        before = image.copy()
        made = [augmentation.augment(image, np.random.default_rng(1)) for _ in range(2)]
        what = f"gave {made[0].dtype} {made[0].shape} for uint8 {shape}"
        require(made[0].dtype == np.uint8 and made[0].shape == shape, augmentation, "augment", what)
        require(bool((image == before).all()), augmentation, "augment", "changes the image it is given; copy it")
        same = bool((made[0] == made[1]).all())
        require(same, augmentation, "augment", "gives another image for an equal generator; draw from that alone")


def check_reward(reward: Reward, rollouts: Sequence[Rollout] | None = None) -> list[Score]:
    """One score for each rollout, in order, the same alone as in company; ``None`` has a reason."""
    texts = ("axial", "", "sagittal plane", "axial " * 50)
    made = [Rollout(make_sample(f"rollout-{n}"), text, len(text.split())) for n, text in enumerate(texts)]
    given = list(rollouts or made)
    scores = twice(reward, "score", lambda: contracts.checked_scores(reward, "score", reward.score(given), len(given)))
    for rollout, score in zip(given, scores, strict=True):
        what = f"scores '{rollout.text[:20]}' otherwise alone than among others; score each rollout by itself"
        require(reward.score([rollout])[0] == score, reward, "score", what)
        require(score.value is not None or score.reasons, reward, "score", "gave no value and no reason; say why")
    return scores
