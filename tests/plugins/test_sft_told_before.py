"""What can be known before a stage trains is told before: templates, checkpoints to go on from, damaged weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infimed_core import InfimedError, load_plugins
from infimed_plugins.migration.recipe import pixels_of_token
from infimed_plugins.sft.failures import check_start
from infimed_plugins.vlm.chat_settings import mistake_in


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% for m in messages %}{{ m.role }}{% endfor %}", ""),
        ("{% for m in messages %}{%- generation -%}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}", ""),
        ("{% for m in messages %}\n{{ m.role }", ":2: is no template of Jinja: "),
        ("{% for m in messages %}", ":1: is no template of Jinja: "),
        ("{% nonsense %}", ":1: is no template of Jinja: "),
        ("{{ raise_exception('no system') }}", ""),
    ],
)
def test_a_chat_template_that_cannot_be_parsed_is_a_mistake_of_the_run_file(
    text: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "own.jinja"
    file.write_text(text, encoding="utf-8")
    assert mistake_in(file).startswith(said) if said else mistake_in(file) == ""
    settings = {"checkpoint": str(tmp_path), "chat_template": str(file)}
    model = load_plugins().make("model", "transformers", settings)
    assert ("chat_template" in model.problems({})) == bool(said)


def test_a_checkpoint_to_go_on_from_that_is_not_there_is_a_mistake_of_the_run_file(tmp_path: Path) -> None:
    stages = [{"name": "a"}, {"name": "b", "continue_from": f"{tmp_path}/first/b@10"}]
    trainer = load_plugins().make("trainer", "staged", {"stages": stages})
    found = trainer.problems({})
    assert list(found) == ["stages.1.continue_from"]
    assert "there is no such checkpoint" in found["stages.1.continue_from"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_stage_does_not_begin_with_weights_that_are_not_finite(value: float) -> None:
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    check_start("s", module)
    with torch.no_grad():
        module[1].weight[0, 1] = value
    with pytest.raises(InfimedError, match=r"stage 's': .* not finite \(first: 1\.weight\)"):
        check_start("s", module)


@pytest.mark.parametrize(
    ("config", "pixels"),
    [
        ({"vision_config": {"patch_size": 14, "spatial_merge_size": 2}}, 28 * 28),
        ({"vision_config": {"patch_size": 14}, "spatial_merge_size": 2}, 28 * 28),
        ({"vision_config": {"patch_size": 16, "image_size": 384}}, None),
        ({"vision_config": None}, None),
        ([], None),
    ],
)
def test_a_checkpoint_on_disk_says_what_a_visual_token_covers(
    config: object, pixels: int | None, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert pixels_of_token(str(tmp_path)) == pixels
