"""What can be known before a stage trains is told before: templates, checkpoints to go on from, damaged weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infimed_core import InfimedError, load_plugins
from infimed_plugins.checkpoints.places import find_place, kept_of
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

    last = torch.nn.Linear(2, 2)
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), last)
    check_start("s", module)
    with torch.no_grad():
        last.weight.fill_(value)
    with pytest.raises(InfimedError, match=r"stage 's': .* not finite \(first: 1\.weight\)"):
        check_start("s", module)


def test_a_model_kept_along_the_way_is_named_by_its_stage_and_step(tmp_path: Path) -> None:
    run = tmp_path / "one"
    for stage, names in {"a": ("step-000000100", "best"), "a-b": ("step-000000100",)}.items():
        for name in names:
            folder = run / "checkpoints" / f"{stage}-0123456789ab.steps" / name
            folder.mkdir(parents=True)
            (folder / "config.json").write_text("{}")
    record = {"format": 2, "name": "one", "status": "running", "steps": []}
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    folders = run / "checkpoints"
    assert [Path(kept_of(run, *named)).relative_to(folders).parts for named in (("a", "100"), ("a", "best"))] == [
        ("a-0123456789ab.steps", "step-000000100"),
        ("a-0123456789ab.steps", "best"),
    ]
    assert kept_of(run, "a-b", "100").parent.name == "a-b-0123456789ab.steps"
    with pytest.raises(InfimedError, match=r"stage 'a' has kept no model '7' \(kept: best, 100\)"):
        find_place(f"{run}/a@7")
    (folders / "a-ffffffffffff.steps" / "best").mkdir(parents=True)
    (folders / "a-ffffffffffff.steps" / "best" / "config.json").write_text("{}")
    with pytest.raises(InfimedError, match="may be any of"):
        find_place(f"{run}/a@best")
