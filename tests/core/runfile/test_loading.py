"""Run files: every mistake at once, with its line, its path and its remedy."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from infimed_core import ConfigError, InfimedError
from infimed_core.plugins import Registry, load_plugins
from infimed_core.runfile.loading import load_run_file, parse_changes
from infimed_core.runfile.sections import MetricRef, metric_names
from infimed_core.testing import check_component

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_plugins()


def problems(text: str, registry: Registry, tmp_path: Path) -> list[str]:
    file = tmp_path / "run.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_run_file(file, registry)
    return [line.removeprefix(f"{file}:") for line in caught.value.problems]


def test_five_mistakes_are_five_lines_with_line_numbers_and_remedies(registry: Registry, tmp_path: Path) -> None:
    text = """\
run: {name: five, plugins: [quality, sft, ocular]}
data:
  sources:
    - use: demo-anatomi
model: {use: tiny-qwen3-vl}
resolution: {use: fixed, with: {max_visual_tokens: many}}
packing:
  use: best-fit
  with:
    row_token: 1024
evaluation:
  benchmarks: [{use: demo-vqa}]
training: {use: staged, with: {stages: [{name: pretrain}]}}
quality: {}
"""
    found = problems(text, registry, tmp_path)
    assert len(found) == 5
    assert found[0].startswith("1: run.plugins.2: plugin 'ocular' is not installed;") and "pip install" in found[0]
    assert found[1].startswith("4: data.sources.0.use: no reader is named 'demo-anatomi'; did you mean 'demo-anatomy'?")
    assert (
        found[2].startswith("6: resolution.with.max_visual_tokens:") and "integer" in found[2] and "'many'" in found[2]
    )
    assert found[3].startswith("10: packing.with.row_token: is not a key here; did you mean 'row_tokens'?")
    assert found[4].startswith("14: quality.scorers: is missing")


def test_a_mistake_inside_the_only_stage_is_one_line(registry: Registry, tmp_path: Path) -> None:
    stages = "training: {use: staged, with: {stages: [{name: one, learning_rat: 1}]}}\n"
    body = "".join(f"{part}\n" for part in ("run: {name: a}", "data: {sources: [{use: demo-anatomy}]}"))
    body += "model: {use: tiny-qwen3-vl}\nresolution: {use: native}\npacking: {use: best-fit}\n"
    found = problems(body + stages, registry, tmp_path)
    assert len(found) == 1 and "did you mean 'learning_rate'?" in found[0]


@pytest.mark.parametrize("scoring", ["paraphrased", "option-shuffled", "image-blind"])
def test_a_mistake_in_the_settings_of_an_inner_component_is_its_line_alone(
    scoring: str, registry: Registry, tmp_path: Path
) -> None:
    uses = f"[{{use: demo-text, scoring: {scoring}, with: {{sed: 1}}}}, {{use: demo-txt, scoring: {scoring}}}]"
    found = problems(
        f"run: {{name: a}}\nmodel: {{use: random}}\nevaluation: {{benchmarks: {uses}}}\n", registry, tmp_path
    )
    assert len(found) == 2 and all(line.startswith("3: evaluation.benchmarks.") for line in found), found
    assert "did you mean 'demo-text'?" in found[1] and "did you mean 'seed'?" in found[0]


@pytest.mark.parametrize(
    "value",
    ["2020-02-31", "9" * 5_000, "1:" * 50_000 + "1", "1:" * 3_000 + "1.5", "!!int x", "!!float x", "0x" + "f" * 500],
)
def test_a_number_or_a_date_that_there_is_not_is_a_mistake_with_its_line(
    value: str, registry: Registry, tmp_path: Path
) -> None:
    (line,) = problems(f"run:\n  name: a\n  seed: {value}\n", registry, tmp_path)
    assert line.startswith("3: ") and "cannot be read" in line and len(line) < 300
    with pytest.raises(InfimedError, match="--set"):
        parse_changes([f"run.seed={value}"])


def test_section_that_another_needs_is_named(registry: Registry, tmp_path: Path) -> None:
    found = problems("run: {name: a}\ntraining: {use: staged, with: {stages: [{name: one}]}}\n", registry, tmp_path)
    assert [line.split(";")[0] for line in found] == [
        f"2: training: needs the section '{name}:', which is missing" for name in ("data", "model")
    ] or {line.split("'")[1] for line in found} == {"data:", "model:"}


TRAINED = """\
run: {name: a}
data: {sources: [{use: demo-anatomy}], modalities: {dicom: {square_pixels: false}}}
model: {use: tiny-qwen3-vl}
training: {use: staged, with: {stages: [{name: one}]}}
"""


def test_what_has_one_sensible_answer_has_a_default_that_is_recorded(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(TRAINED)
    document = load_run_file(tmp_path / "run.yaml", registry).as_json()
    assert (document["resolution"]["use"], document["packing"]["use"]) == ("native", "best-fit")
    assert document["packing"]["with"]["row_tokens"] == 4096


def test_modalities_take_settings_from_the_run_file(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(TRAINED)
    plan = load_run_file(tmp_path / "run.yaml", registry)
    assert plan.file.data is not None
    loader = registry.media_loader(plan.file.data.modalities)
    assert loader.identities({"dicom"}) != registry.media_loader().identities({"dicom"})
    found = problems(TRAINED.replace("square_pixels", "square_pixel"), registry, tmp_path)
    assert len(found) == 1 and "did you mean 'square_pixels'?" in found[0] and found[0].startswith("2: ")
    assert "no modality is named 'dicm'" in problems(TRAINED.replace("dicom", "dicm"), registry, tmp_path)[0]


def test_key_given_twice_is_told(registry: Registry, tmp_path: Path) -> None:
    found = problems("run:\n  name: a\n  name: b\n", registry, tmp_path)
    assert found == ["3: run.name: is given twice; keep one"]


def test_mistakes_inside_a_stage_have_their_line(registry: Registry, tmp_path: Path) -> None:
    text = """\
run: {name: a}
data: {sources: [{use: demo-anatomy}]}
model: {use: tiny-qwen3-vl}
resolution: {use: native}
packing: {use: best-fit}
training:
  use: staged
  with:
    stages:
      - name: one
        resolution: {use: nativ}
      - name: base
"""
    found = problems(text, registry, tmp_path)
    assert len(found) == 2
    assert found[0].startswith("11: training.with.stages.0.resolution.use: no resolution scheduler is named 'nativ'")
    assert found[1].startswith("12: training.with.stages.1.name: the name 'base' is taken")


def test_names_and_files_that_are_not_there_are_told_before_anything_starts(registry: Registry, tmp_path: Path) -> None:
    text = """\
run: {name: a}
data:
  sources:
    - {use: llava, with: {path: no/such.json, image_root: no/folder}}
    - {use: huggingface, with: {path: ./no/folder}}
quality:
  scorers: [{use: five-dimension, with: {calibration: no/calibration.json}}]
  select: {use: threshold, with: {minima: {sharpness: 0.5}}}
model: {use: transformers, with: {checkpoint: ./no/checkpoint}}
resolution: {use: native}
packing: {use: best-fit}
training:
  use: staged
  with:
    stages:
      - {name: general, trainable: [vison, languag]}
      - {name: medical, learning_rate: {projecter: 1.0e-4, language: 1.0e-5}, lora: {groups: [language]}}
evaluation:
  models: [base, medcal]
  compare_to: [basis]
  samples: no/ids.txt
  benchmarks:
    - {use: vqa-rad, with: {path: no/vqa-rad}}
"""
    found = problems(text, registry, tmp_path)
    told = [line.split(": ")[1] for line in found]
    assert told == [
        "data.sources.0.with.image_root",
        "data.sources.0.with.path",
        "data.sources.1.with.path",
        "quality.scorers.0.with.calibration",
        "quality.select.with.minima.sharpness",
        "model.with.checkpoint",
        "training.with.stages.0.trainable",
        "training.with.stages.1.learning_rate",
        "evaluation.models.1",
        "evaluation.compare_to.0",
        "evaluation.samples",
        "evaluation.benchmarks.0.with.path",
    ]
    by_place = dict(zip(told, found, strict=True))
    assert by_place["training.with.stages.0.trainable"].startswith("16: ")
    assert "no parameter group 'vison' and 'languag'; did you mean 'vision' and 'language'?" in found[6]
    assert "'projecter'" in found[7] and "did you mean 'projector'?" in found[7]
    assert "did you mean 'medical'? there are: base, general, medical" in found[8]
    assert "there are: base, general, medical, " in found[9] and "most-common-answer" in found[9]
    assert "image_quality, alignment" in found[4] and all("no such" in found[at] for at in (0, 1, 2, 5, 10, 11))


def test_names_that_are_right_are_not_refused(registry: Registry, tmp_path: Path) -> None:
    profile = tmp_path / "profile.yaml"
    shipped = (ROOT / "plugins" / "infimed_plugins" / "quality" / "profile.yaml").read_text(encoding="utf-8")
    own = yaml.safe_load(shipped)
    own["dimensions"] = [name for name in own["dimensions"] if name != "compliance"]
    own["weights"].pop("compliance", None)
    own["hard_minimums"].pop("compliance", None)
    own["rubric"].pop("compliance")
    profile.write_text(yaml.safe_dump(own), encoding="utf-8")
    text = f"""\
run: {{name: a}}
data: {{sources: [{{use: demo-anatomy}}]}}
quality:
  scorers: [{{use: five-dimension, with: {{profile: {profile}}}}}]
  select: {{use: threshold, with: {{minima: {{alignment: 0.1}}}}}}
"""
    (tmp_path / "good.yaml").write_text(text)
    load_run_file(tmp_path / "good.yaml", registry)
    (found,) = problems(text.replace("alignment", "compliance"), registry, tmp_path)
    assert "no scorer of this run gives the dimension 'compliance'" in found, "the profile decides, not the class"
    plan = load_run_file(ROOT / "examples" / "full.yaml", registry, {"evaluation.models": ["cross-domain"]})
    assert plan.file.evaluation is not None and "base" in plan.file.evaluation.compare_to


def test_odd_values_are_told_and_raise_nothing(registry: Registry, tmp_path: Path) -> None:
    text = f"""\
run: {{name: a}}
data: {{sources: [{{use: demo-anatomy}}]}}
quality: {{scorers: [{{use: embedding, with: {{model: ./no/model, bank: no/bank}}}}]}}
model: {{use: transformers, with: {{checkpoint: "~nosuchuser/model"}}}}
evaluation: {{benchmarks: [{{use: demo-vqa}}], samples: "{"a," * 2000}"}}
"""
    told = [line.split(": ")[1] for line in problems(text, registry, tmp_path)]
    assert told == [
        "quality.scorers.0.with.bank", "quality.scorers.0.with.model", "model.with.checkpoint", "evaluation.samples",
    ]  # fmt: skip


def test_components_of_a_stage_and_of_a_benchmark_are_asked_for_their_mistakes(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = registry.find("resolution scheduler", "fixed")
    monkeypatch.setattr(fixed, "problems", lambda self, run: {"max_visual_tokens": "is not for today"})
    text = """\
run: {name: a}
data: {sources: [{use: demo-anatomy}]}
model: {use: tiny-qwen3-vl}
resolution: {use: native}
packing: {use: best-fit}
training:
  use: staged
  with: {stages: [{name: one}, {name: two, resolution: {use: fixed, with: {max_visual_tokens: 4}}}]}
evaluation:
  benchmarks: [{use: questions, with: {reader: {use: jsonl, with: {path: no.jsonl, max_sample: 3}}}}]
"""
    found = problems(text, registry, tmp_path)
    assert found[0] == "8: training.with.stages.1.resolution.with.max_visual_tokens: is not for today"
    place = "evaluation.benchmarks.0.with.reader.with"
    assert found[1].startswith(f"10: {place}.max_sample: is not a key here; did you mean 'max_samples'?")
    assert found[2].startswith(f"10: {place}.path: no.jsonl: no such file") and len(found) == 3


def test_a_mistake_hides_no_other(registry: Registry, tmp_path: Path) -> None:
    text = """\
run: {name: a, sed: 0}
data: {sources: [{use: llava, with: {path: no.json, image_root: no/folder, max_sample: 3}}]}
quality: {scorers: [{use: five-dimension}], select: {use: threshold, with: {minima: {sharpness: 0.5}, on_nul: keep}}}
model: {use: tiny-qwen3-vl, with: {attention: flash_attention_2, layer: 2}}
resolution: {use: native}
packing: {use: best-fit}
training: {use: staged, with: {loss_kernel: liger, stages: [{name: one, epochs: -1, trainable: [projektor]}]}}
evaluation: {models: [base, sfft], compare_to: [best], benchmarks: [{use: demo-vqa}], limits: 3}
"""
    told = [line.split(": ")[1] for line in problems(text, registry, tmp_path)]
    assert told == [
        "run.sed",
        "data.sources.0.with.image_root", "data.sources.0.with.max_sample", "data.sources.0.with.path",
        "quality.select.with.minima.sharpness", "quality.select.with.on_nul",
        *(["model.with.attention"] if find_spec("flash_attn") is None else []), "model.with.layer",
        *(["training.with.loss_kernel"] if find_spec("liger_kernel") is None else []),
        "training.with.stages.0.epochs", "training.with.stages.0.trainable",
        "evaluation.compare_to.0", "evaluation.limits", "evaluation.models.1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("training:", "trianing:"),
        ("evaluation:", "evalution:"),
        ("{use: staged, with: {stages: [{name: one, evaluate: {every: 2, benchmarks: [ours]}}]}}", "staged"),
        ("name: ours", "nmae: ours"),
        ("baselines: [constant-letter]", "baselines: constant-letter"),
    ],
)
def test_a_mistake_begets_no_other(old: str, new: str, registry: Registry, tmp_path: Path) -> None:
    text = """\
run: {name: a}
data: {sources: [{use: demo-anatomy}]}
model: {use: tiny-qwen3-vl}
resolution: {use: native}
packing: {use: best-fit}
training: {use: staged, with: {stages: [{name: one, evaluate: {every: 2, benchmarks: [ours]}}]}}
evaluation: {models: [base, one], compare_to: [one, constant-letter], baselines: [constant-letter], benchmarks: [{use: demo-vqa, name: ours}]}
"""  # noqa: E501
    (tmp_path / "good.yaml").write_text(text)
    load_run_file(tmp_path / "good.yaml", registry)
    assert len(problems(text.replace(old, new), registry, tmp_path)) == 1


def test_what_ran_is_a_run_file_again(registry: Registry, tmp_path: Path) -> None:
    for source in (ROOT / "examples" / "full.yaml", ROOT / "examples" / "ablation.yaml"):
        plan = load_run_file(source, registry)
        (tmp_path / "again.yaml").write_text(yaml.safe_dump(plan.as_json()))
        again = load_run_file(tmp_path / "again.yaml", registry).as_json()
        assert again["training"] == plan.as_json()["training"]
        stages = [{"name": "m"}, {"name": "n", "num_steps": 3}]
        check_component(registry.find("trainer", "staged").model_validate({"stages": stages}))


@pytest.mark.parametrize(
    "text", ["run: {name: a, plugins: 5}", "run: {name: a}\nevaluation: {benchmarks: [{use: {a: b}}]}"]
)
def test_odd_shapes_are_told(text: str, registry: Registry, tmp_path: Path) -> None:
    assert problems(text, registry, tmp_path)


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        ("{name: one, trainable: []}", "trainable names no group, so nothing would learn; leave it out to train all"),
        ("{name: one, epochs: 3, num_steps: 5}", "num_steps and epochs are two lengths of one stage; keep one"),
    ],
)
def test_a_stage_that_cannot_be_meant_is_refused(stage: str, told: str, registry: Registry, tmp_path: Path) -> None:
    text = f"""\
run: {{name: a}}
data: {{sources: [{{use: demo-anatomy}}]}}
model: {{use: tiny-qwen3-vl}}
resolution: {{use: native}}
packing: {{use: best-fit}}
training: {{use: staged, with: {{stages: [{stage}]}}}}
"""
    assert problems(text, registry, tmp_path) == [f"6: training.with.stages.0: {told}"]


def test_what_is_wrong_is_told_in_words_of_run_files(registry: Registry, tmp_path: Path) -> None:
    stage = "{name: one, warmup: 2.5}"
    text = f"""\
run: {{name: a}}
data: {{sources: [{{use: demo-anatomy}}]}}
model: {{use: tiny-qwen3-vl}}
resolution: {{use: native}}
packing: {{use: best-fit, with: {{row_tokens: 0}}}}
training: {{use: staged, with: {{stages: [{stage}]}}}}
evaluation: {{benchmarks: [demo-vqa]}}
"""
    found = problems(text, registry, tmp_path)
    assert [line.partition(": ")[2] for line in found] == [
        "packing.with.row_tokens: must be greater than or equal to 1 (given: 0)",
        "training.with.stages.0: warmup must be a share below 1, or a whole number of steps",
        "evaluation.benchmarks.0: must be a mapping of keys to values, as in {use: NAME} (given: 'demo-vqa')",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1: a run file is a mapping"),
        ("- a\n", "1: a run file is a mapping"),
        ("run: {name: 'a\n", "2:"),
        ("run:\n\tname: a\n", "2:"),
    ],
)
def test_file_that_is_no_mapping_or_no_yaml_is_one_line(
    text: str, expected: str, registry: Registry, tmp_path: Path
) -> None:
    (found,) = problems(text, registry, tmp_path)
    assert found.startswith(expected)


@pytest.mark.parametrize(
    "text",
    [
        "a0: &a0 [x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 8)}]\n" for n in range(9)),
        "a0: &a0 {k: v}\n" + "".join(f"a{n + 1}: &a{n + 1} {{l: *a{n}, r: *a{n}}}\n" for n in range(30)),
        "run: &a [*a]\n",
        "run: &a {name: *a}\n",
    ],
)
def test_aliases_that_stand_for_too_much_or_for_themselves_are_one_line(
    text: str, registry: Registry, tmp_path: Path
) -> None:
    (line,) = problems(text, registry, tmp_path)
    assert "aliases stand for too much" in line or "is not YAML" in line


def test_a_name_that_no_folder_can_have_is_told(registry: Registry, tmp_path: Path) -> None:
    (line,) = problems(f"run: {{name: {'n' * 300}}}\n", registry, tmp_path)
    assert "1: run.name: string should match pattern" in line


def test_missing_file_is_one_line(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such run file"):
        load_run_file(tmp_path / "absent.yaml", registry)


def test_override_reaches_into_components_and_is_recorded(registry: Registry) -> None:
    plan = load_run_file(ROOT / "examples" / "full.yaml", registry, {"packing.with.row_tokens": 333, "run.seed": 7})
    assert plan.component("packing").row_tokens == 333
    assert plan.as_json()["packing"]["with"]["row_tokens"] == 333
    assert plan.file.run.seed == 7


def test_questions_are_chosen_only_where_there_are_any(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("run: {name: a}\n")
    with pytest.raises(ConfigError, match=r"--limit chooses questions, but the run file has no section 'evaluation:'"):
        load_run_file(tmp_path / "run.yaml", registry, {"evaluation.limit": 3})


def test_override_of_a_place_that_is_not_there_is_told(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="there is no such place"):
        load_run_file(ROOT / "examples" / "full.yaml", registry, {"run.name.first": 1})


KEYS = st.sampled_from(
    ["run", "data", "use", "with", "sources", "name", "model", "stages", "evaluation", "benchmarks", "training"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.sampled_from(["staged", "demo-vqa", "x", "", "tiny-qwen3-vl"])


def _grow(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)


@settings(max_examples=40)
@given(st.recursive(LEAVES, _grow, max_leaves=12))
def test_no_document_makes_the_checker_itself_fail(document: object) -> None:
    import json
    import tempfile

    registry = _REGISTRY.setdefault("r", load_plugins())
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "run.yaml"
        file.write_text(json.dumps(document), encoding="utf-8")
        try:
            load_run_file(file, registry)
        except ConfigError as error:
            assert error.problems and all(line.startswith(f"{file}:") for line in error.problems)


_REGISTRY: dict[str, Registry] = {}


def test_metrics_are_named_or_set_and_every_mistake_has_its_line(registry: Registry, tmp_path: Path) -> None:
    text = """\
run: {name: measured}
model: {use: constant, with: {text: A}}
evaluation:
  benchmarks:
    - use: demo-text
      metrics:
        - accuracy
        - acuracy
        - part-mean
        - {use: part-mean, with: {prt: f1}}
        - {use: balanced-acuracy}
        - {use: f1, wth: {}}
        - 3
"""
    found = problems(text, registry, tmp_path)
    place = "evaluation.benchmarks.0.metrics"
    assert len(found) == 7
    assert found[0].startswith(f"8: {place}.1: no metric is named 'acuracy'; did you mean 'accuracy'?")
    assert found[1] == f"9: {place}.2: 'part-mean' needs settings (part); write {{use: part-mean, with: {{...}}}}"
    assert any(line.startswith(f"10: {place}.3.with.part: is missing") for line in found)
    assert any(line.startswith(f"10: {place}.3.with.prt: is not a key here;") for line in found)
    assert found[4].startswith(f"11: {place}.4.use: no metric is named 'balanced-acuracy'; did you mean 'balanced-")
    assert found[5].startswith(f"12: {place}.5.wth: is not a key here; did you mean 'with'?")
    assert found[6].startswith(f"13: {place}.6: must be a mapping of keys to values, as in {{use: NAME}}")


def test_a_metric_with_settings_is_made_as_the_file_says(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    refs = ["accuracy", {"use": "f1", "with": {"positive": "no"}, "name": "f1-no"}, {"use": "f1"}]
    body = {
        "run": {"name": "measured"},
        "model": {"use": "constant", "with": {"text": "A"}},
        "evaluation": {"benchmarks": [{"use": "demo-text", "metrics": refs}]},
    }
    file.write_text(yaml.safe_dump(body))
    plan = load_run_file(file, registry)
    assert plan.file.evaluation is not None and plan.file.evaluation.benchmarks[0].metrics is not None
    assert metric_names(plan.file.evaluation.benchmarks[0].metrics) == ["accuracy", "f1-no", "f1"]
    assert plan.component("evaluation.benchmarks.0.metrics.1").model_dump() == {"positive": "no"}
    twice = [MetricRef(use="f1"), MetricRef(use="accuracy"), MetricRef(use="f1")]
    assert metric_names(twice) == ["f1-1", "accuracy", "f1-2"]
