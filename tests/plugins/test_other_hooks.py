"""Hooks that offer no component: sections of the report, and families of models."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from infimed_core import InfimedError, load_plugins
from infimed_core.plugin_files import VARIABLE
from infimed_core.records import open_run
from infimed_core.testing import run
from infimed_plugins.reporting.page.page import render
from infimed_plugins.vlm import families
from infimed_plugins.vlm.diagnosis import diagnose

SOURCE = """
from infimed_core import hookimpl

@hookimpl
def infimed_report_sections():
    return {"Numbers & names": lambda run: f"<p>{len(run.results())} results of {run.name}</p>",
            "Nothing": lambda run: None, "Broken": lambda run: 1 / 0, "Odd": lambda run: 3}

@hookimpl
def infimed_model_families():
    projector = ("model.multi_modal_projector.",)
    return {"cohere2": {}, "llava_next": {"vision": ["model.vision_tower."], "projector": projector}}
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv(VARIABLE, "{}")
    families._of_plugins.cache_clear()
    yield tmp_path / "mine.py"
    families._of_plugins.cache_clear()


def test_a_plugin_adds_a_section_to_the_report_and_one_that_fails_says_so(mine: Path, tmp_path: Path) -> None:
    mine.write_text(SOURCE)
    sections = {"model": {"use": "constant"}, "evaluation": {"benchmarks": [{"use": "demo-text"}], "limit": 4}}
    run({"run": {"name": "small", "plugins": [str(mine)]}, **sections}, tmp_path)
    page = render(open_run(tmp_path / "runs" / "small"))
    assert "<h2>Numbers &amp; names</h2>" in page and "results of small</p>" in page
    assert page.count("This section could not be written") == 2 and "ZeroDivisionError: division by zero" in page
    assert "<h2>Nothing</h2>" not in page and page.index("Numbers &amp; names") < page.index('<section id="record">')


def test_a_plugin_adds_a_family_of_models(mine: Path) -> None:
    assert families.family_of(SimpleNamespace(model_type="cohere2")) is None
    families._of_plugins.cache_clear()
    mine.write_text(SOURCE)
    load_plugins().add_file(mine)
    cohere2 = families.family_of(SimpleNamespace(model_type="cohere2"))
    assert cohere2 is not None and cohere2.packs and not cohere2.takes_images
    next_ = families.family_of(SimpleNamespace(model_type="llava_next"))
    assert next_ is not None and next_.vision == ("model.vision_tower.",)


def test_the_family_of_images_in_the_guide_is_tested_for_isolation_and_packs(mine: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig

    guide = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    (code,) = re.findall(r'```python title="announcer.py"\n(.*?)```', guide, flags=re.DOTALL)
    rope = {"rope_type": "default", "partial_rotary_factor": 0.5, "mrope_section": [8, 12, 12], "rope_theta": 10000.0}
    AutoConfig.for_model("glm_ocr", text_config={"rope_parameters": rope}).save_pretrained(tmp_path / "checkpoint")
    assert families.family_of(SimpleNamespace(model_type="glm_ocr")) is None
    families._of_plugins.cache_clear()
    mine.write_text(code)
    load_plugins().add_file(mine)
    found = diagnose(str(tmp_path / "checkpoint"))
    assert found["known_family"] and found["takes_images"] and found["packable"], found["explanation"]
    assert found["gradients_difference"] <= 1e-5


@pytest.mark.parametrize(
    ("facts", "wrong"),
    [
        ({"vision": "model.vision_tower."}, "vision: .*tuple"),
        ({"vision": ["model.vision_tower."], "processor": "clip"}, "processor 'clip' is none of qwen, glm"),
        ({"rope_rows": "four"}, "rope_rows: .*integer"),
    ],
)
def test_a_fact_of_a_family_that_is_of_the_wrong_kind_is_told(mine: Path, facts: dict[str, object], wrong: str) -> None:
    mine.write_text(SOURCE.replace('"cohere2": {}', f'"cohere2": {facts}'))
    load_plugins().add_file(mine)
    with pytest.raises(InfimedError, match=wrong):
        families.family_named("cohere2", None)


def test_a_family_with_an_unknown_fact_is_told_with_what_it_may_say(mine: Path) -> None:
    mine.write_text(SOURCE.replace('"cohere2": {}', '"cohere2": {"colour": 1}'))
    load_plugins().add_file(mine)
    with pytest.raises(InfimedError, match=r"'cohere2', which cannot be used: .*colour.*it may say vision, projector"):
        families.family_named("cohere2", None)
