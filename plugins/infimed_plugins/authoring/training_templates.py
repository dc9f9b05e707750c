"""What `infimed new` writes for the kinds that take part in training."""

from __future__ import annotations

from infimed_plugins.authoring.template import Template

TRAINING = {
    "trainer": Template(
        component='''
class NameStage(Stage):
    """A stage, and what this trainer can set in it."""

    learning_rate: float = Field(default=1e-4, gt=0.0, description="Of AdamW.")


class Name(Trainer):
    """AdamW on the mean cross-entropy of each step: the shortest loop that trains."""

    stages: tuple[NameStage, ...] = Field(min_length=1, description="The stages, in order.")

    @property
    def stage_list(self) -> Sequence[Stage]:
        return self.stages

    def train(
        self, model: TrainableModel, batches: Batches, stage: Stage, context: TrainingContext
    ) -> dict[str, JsonValue]:
        import torch

        assert isinstance(stage, NameStage)
        parameters = [parameter for parameter in model.module.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=stage.learning_rate)
        curve: list[JsonValue] = []
        for step in range(batches.num_steps):
            rows = batches.rows(step)
            num_supervised = sum(row.num_supervised for row in rows)
            total = 0.0
            for row in rows:
                places = np.flatnonzero(row.labels != IGNORED_LABEL)
                logits = model.output_embedding()(model.hidden_states(row)[places]).float()
                labels = torch.as_tensor(row.labels[places], device=logits.device)
                loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum") / max(1, num_supervised)
                loss.backward()
                total += loss.item()
            optimizer.step()
            optimizer.zero_grad()
            curve.append({"step": step + 1, "loss": total})
            context.emit("progress", {"done": step + 1, "total": batches.num_steps, "unit": "steps"})
        return {"steps": batches.num_steps, "curve": curve}
''',
        uses="IGNORED_LABEL Batches Stage TrainableModel Trainer TrainingContext",
        imports="from collections.abc import Sequence\n\nimport numpy as np\nfrom pydantic import Field, JsonValue",
        setup='model = load_plugins().make("model", "tiny-qwen3-vl")',
        made='Name(stages=({"name": "one"},)), model',
        in_run_file="training: {use: NAME, with: {stages: [{name: one, learning_rate: 1e-5}]}}",
    ),
    "objective": Template(
        component='''
class Name(Objective):
    """Cross-entropy that counts tokens less which the model knows already (a focal loss)."""

    focus: float = Field(default=1.0, ge=0.0, description="How much less; 0 is plain cross-entropy.")

    def targets(self, row: PackedBatch) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
        places = np.flatnonzero(row.labels != IGNORED_LABEL)
        return places, np.ones(len(places)), float(len(places))

    def losses(self, row: PackedBatch, log_probabilities: Any) -> tuple[Any, dict[str, Any]]:
        unknown = 1 - log_probabilities.exp()
        return -log_probabilities * unknown**self.focus, {"unknown": unknown.detach()}
''',
        uses="IGNORED_LABEL Objective PackedBatch",
        imports="from typing import Any\n\nimport numpy as np\nfrom numpy.typing import NDArray\n"
        "from pydantic import Field",
        setup='model = load_plugins().make("model", "tiny-qwen3-vl")\n'
        'checkpoint = model.prepare(tmp_path, lambda: ["axial"], 0)',
        made="Name(), model.encoder(checkpoint)",
        in_run_file="training: {use: staged, with: {stages: [{name: one, objective: {use: NAME}}]}}",
    ),
    "reward": Template(
        component='''
class Name(Reward):
    """1 where the answer begins as the reference does, 0 elsewhere."""

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        return [Score(value=float(self._is_right(rollout))) for rollout in rollouts]

    def _is_right(self, rollout: Rollout) -> bool:
        return rollout.text.strip().lower().startswith(rollout.sample.turns[-1].text.strip().lower())
''',
        uses="Reward Rollout Score",
        imports="from collections.abc import Sequence",
        function='''
@reward
def NAME_(rollout):
    """1 where the answer begins as the reference does, 0 elsewhere."""
    return float(rollout.text.strip().lower().startswith(rollout.sample.turns[-1].text.strip().lower()))
''',
        function_uses="reward",
        in_run_file="# named by an objective that learns from drawn answers: {use: NAME}",
    ),
    "optimizer": Template(
        component='''
class Name(Optimizer):
    """Moves every weight by the sign of its gradient."""

    def build(self, groups: list[dict[str, Any]]) -> Any:
        import torch

        class SignDescent(torch.optim.Optimizer):
            def step(self, closure: Any = None) -> None:
                for group in self.param_groups:
                    for parameter in (one for one in group["params"] if one.grad is not None):
                        parameter.data.sub_(parameter.grad.sign(), alpha=group["lr"])

        return SignDescent(groups, {})
''',
        uses="Optimizer",
        imports="from typing import Any",
        function='''
@optimizer
def NAME_(groups):
    """Plain gradient descent with a momentum."""
    import torch

    return torch.optim.SGD(groups, momentum=0.9)
''',
        function_uses="optimizer",
        in_run_file="training: {use: staged, with: {stages: [{name: one, optimizer: {use: NAME}}]}}",
    ),
    "schedule": Template(
        component='''
class Name(Schedule):
    """Falls in equal steps."""

    steps: int = Field(default=4, ge=1, description="How many levels.")

    def factor(self, progress: float) -> float:
        return 1.0 - min(int(progress * self.steps), self.steps - 1) / self.steps
''',
        uses="Schedule",
        imports="from pydantic import Field",
        function='''
@schedule
def NAME_(progress):
    """Falls as a square."""
    return (1.0 - progress) ** 2
''',
        function_uses="schedule",
        in_run_file="training: {use: staged, with: {stages: [{name: one, schedule: {use: NAME}}]}}",
    ),
    "curriculum": Template(
        component='''
class Name(Curriculum):
    """Short samples first; every image counts as so many tokens more."""

    image_tokens: int = Field(default=100, ge=0, description="Tokens that an image counts more than it has.")

    def difficulties(self, samples: Iterable[PlannedSample]) -> Iterator[float | None]:
        for sample in samples:
            yield sample.num_images * self.image_tokens + sample.num_tokens
''',
        uses="Curriculum PlannedSample",
        imports="from collections.abc import Iterable, Iterator\n\nfrom pydantic import Field",
        function='''
@curriculum
def NAME_(sample):
    """Good samples first; those without a score last."""
    return None if sample.score.value is None else -sample.score.value
''',
        function_uses="curriculum",
        in_run_file="training: {use: staged, with: {stages: [{name: one, curriculum: {use: NAME}}]}}",
    ),
    "augmentation": Template(
        component='''
class Name(Augmentation):
    """A little noise on every pixel."""

    most: int = Field(default=4, ge=0, le=64, description="Most that a value changes, of 255.")

    def augment(self, image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
        noise = generator.integers(-self.most, self.most, image.shape, endpoint=True)
        return np.clip(image + noise, 0, 255).astype(np.uint8)
''',
        uses="Augmentation",
        imports="import numpy as np\nfrom numpy.typing import NDArray\nfrom pydantic import Field",
        function='''
@augmentation
def NAME_(image, generator):
    """Some images a little darker."""
    return image - image // 8 if generator.random() < 0.5 else image
''',
        function_uses="augmentation",
        in_run_file="training: {use: staged, with: {stages: [{name: one, augmentations: [{use: NAME}]}]}}",
    ),
}
