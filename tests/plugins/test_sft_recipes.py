"""Every recipe passes the check of run files, and says of its values whose they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from infimed_core.plugins import load_plugins
from infimed_core.runfile.loading import load_run_file
from infimed_plugins.sft.trainer import StagedTrainer

pytestmark = pytest.mark.usefixtures("data_of_examples")
RECIPES = sorted((Path(__file__).parents[2] / "examples" / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_passes_the_check_and_says_whose_its_values_are(recipe):
    plan = load_run_file(recipe, load_plugins())
    trainer = plan.component("training")
    assert isinstance(trainer, StagedTrainer) and trainer.stage_list
    head = [line for line in recipe.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any("is ours" in line or line.startswith("# Ours:") for line in head)


def test_the_recipes_that_are_promised_are_there():
    assert {path.stem for path in RECIPES} >= {
        "infimed-foundation-4b",
        "lingshu-stages",
        "qwen3-vl-4b-lora",
        "qwen3-vl-4b-sft",
    }


def test_lingshus_stages_have_the_values_of_the_report():
    (recipe,) = (path for path in RECIPES if path.stem == "lingshu-stages")
    plan = load_run_file(recipe, load_plugins())
    shallow, deep, instruction = plan.component("training").stages
    assert shallow.trainable == ("vision", "projector") and deep.trainable is instruction.trainable is None
    assert [stage.epochs for stage in (shallow, deep, instruction)] == [1, 1, 2]
    for stage in (shallow, deep, instruction):
        assert (stage.rate_of("vision"), stage.rate_of("projector")) == (2e-6, 1e-5)
        assert stage is shallow or stage.rate_of("language") == 1e-5
        assert (stage.schedule, stage.warmup, stage.rows_per_step % 8) == ("cosine", 100, 0)
    assert plan.component("packing").row_tokens == 8192 and not type(plan.component("packing")).padded
    for name in ("shallow-alignment", "deep-alignment"):
        packer = plan.component(f"stages.{name}.packing")
        assert (type(packer).padded, packer.batch_size) == (True, 1)
