"""Every recipe's training section is one that the trainer takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from infimed_core import Use
from infimed_plugins.sft.trainer import StagedTrainer

RECIPES = sorted((Path(__file__).parents[2] / "examples" / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_has_stages_that_the_trainer_takes(recipe):
    training = Use.model_validate(yaml.safe_load(recipe.read_text(encoding="utf-8"))["training"])
    assert training.use == "staged"
    assert StagedTrainer.model_validate(training.settings).stage_list


def test_there_are_recipes():
    assert len(RECIPES) >= 3
