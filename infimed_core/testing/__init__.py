"""What a plugin's tests need: small samples and images, and checks that a component keeps its kind's promises.

Each check raises ``AssertionError`` or ``ComponentError`` that names class, method and what is wrong. Samples, scores
and the like may be left out: a small set is made up.
"""

from infimed_core.testing.made import check_component, make_image, make_sample
from infimed_core.testing.models import (
    check_augmentation,
    check_encoder,
    check_model,
    check_objective,
    check_optimizer,
    check_reward,
    check_schedule,
    check_trainable_model,
    check_trainer,
)
from infimed_core.testing.parts import (
    check_baseline,
    check_benchmark,
    check_curriculum,
    check_executor,
    check_filter,
    check_metric,
    check_modality,
    check_packer,
    check_reader,
    check_reporter,
    check_scheduler,
    check_scorer,
    check_selector,
    check_solver,
    check_synthesizer,
)
from infimed_core.testing.running import run

__all__ = [
    "check_augmentation", "check_baseline", "check_benchmark", "check_component", "check_curriculum", "check_encoder",
    "check_executor", "check_filter", "check_metric", "check_modality", "check_model", "check_objective",
    "check_optimizer", "check_packer", "check_reader", "check_reporter", "check_reward", "check_schedule",
    "check_scheduler", "check_scorer", "check_selector", "check_solver", "check_synthesizer", "check_trainable_model",
    "check_trainer", "make_image", "make_sample", "run",
]  # fmt: skip
