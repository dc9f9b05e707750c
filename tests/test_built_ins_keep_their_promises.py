"""Every component that InfiMed offers passes the check of its kind that outside plugins are given."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from infimed_core import KINDS, Media, Model, load_plugins
from infimed_core.testing import (
    check_augmentation,
    check_baseline,
    check_benchmark,
    check_component,
    check_curriculum,
    check_executor,
    check_filter,
    check_metric,
    check_modality,
    check_model,
    check_objective,
    check_optimizer,
    check_packer,
    check_reader,
    check_reporter,
    check_reward,
    check_schedule,
    check_scheduler,
    check_scorer,
    check_selector,
    check_solver,
    check_synthesizer,
    check_trainer,
    make_image,
)

ROOT = Path(__file__).parents[1]
KIT = yaml.safe_load((ROOT / "examples" / "medevalkit_fixtures.yaml").read_text())["evaluation"]["benchmarks"]
NEEDS = {
    "executor ray": "ray", "executor ray-data": "ray", "model vllm": "vLLM", "scorer embedding": "a checkpoint",
    "filter embedding-duplicates": "a checkpoint", "model assemble": "two checkpoints", "model verifier": "a model",
    "scorer quality-judge": "a judge", "scorer pass-rate": "a model", "benchmark lm-eval": "a task",
    "model openai-compatible": "a server", "synthesizer rejection-sampling": "a teacher", "reward judge": "a judge",
    "reader preference-pairs": "pairs of answers", "reader volumes": "a series of slices", "reader studies": "studies",
    "reader medevalkit": "a data set of the kit", "reader labelled-answers": "answers with labels",
}  # fmt: skip
"""What is not here; of these the settings alone are checked."""
PICTURES = {"use": "demo-vqa", "with": {"max_samples": 8}}
SETTINGS: dict[str, dict[str, Any]] = {
    **{f"benchmark {use['use']}": {"path": str(ROOT / use["with"]["path"])} for use in KIT},
    "benchmark option-shuffled": {"benchmark": {"use": "demo-text"}},
    "objective grpo": {"rewards": [{"use": "format"}]},
    "reader preference-pairs": {"path": "PLACE/rows.jsonl"},
    "reader labelled-answers": {"path": "PLACE/rows.jsonl"},
    "reward judge": {"model": {"use": "constant"}},
    "reward length": {"most_tokens": 100, "limit": 200},
    "reward strict-accuracy": {"grader": {"use": "demo-text"}},
    "synthesizer rejection-sampling": {"grader": {"use": "demo-text"}},
    "benchmark likelihood": {"benchmark": {"use": "demo-text"}},
    "benchmark paraphrased": {"benchmark": {"use": "demo-text"}},
    **{f"benchmark {name}": {"benchmark": PICTURES} for name in ("image-blind", "wrong-image", "degraded-image")},
    "benchmark grounding": {"reader": {"use": "demo-grounding", "with": {"max_images": 4}}},
    "benchmark arc-challenge": {"path": str(ROOT / "tests/fixtures/general/arc-challenge")},
    "benchmark mmbench": {"path": str(ROOT / "tests/fixtures/general/mmbench")},
    "reader demo-grounding": {"max_images": 4},
    "benchmark questions": {"reader": {"use": "jsonl", "with": {"path": "PLACE/questions.jsonl"}}},
    "executor processes": {"num_processes": 2},
    "filter embedding-duplicates": {"model": "small"},
    "benchmark lm-eval": {"task": "medqa"},
    "metric part-mean": {"part": "right"},
    "model openai-compatible": {"base_url": "http://127.0.0.1:9/v1"},
    "model assemble": {"vision": "vision", "language": "language"},
    "model predictions": {"path": "PLACE/predictions.jsonl"},
    "model transformers": {"checkpoint": "PLACE/tiny"},
    "model verifier": {"model": {"use": "constant"}, "format": "xverify"},
    "model vllm": {"checkpoint": "PLACE/tiny"},
    "reader answered": {"path": "PLACE/answered.jsonl"},
    "reader csv": {"path": "PLACE/rows.csv"},
    "reader directory": {"path": "PLACE/images"},
    "reader huggingface": {"path": "PLACE/parquet"},
    "reader jsonl": {"path": "PLACE/rows.jsonl"},
    "reader llava": {"path": "PLACE/llava.json"},
    "reader medevalkit": {"path": "PLACE"},
    "reader parquet": {"path": "PLACE/parquet/rows.parquet"},
    "reader studies": {"path": "PLACE"},
    "reader volumes": {"reader": {"use": "jsonl", "with": {"path": "PLACE/rows.jsonl"}}},
    "reader webdataset": {"path": "PLACE/rows.tar"},
    "resolution scheduler fixed": {"max_visual_tokens": 9},
    "scorer embedding": {"model": "small"},
    "scorer pass-rate": {"grader": {"use": "demo-text"}},
    "selector budget": {"num_samples": 3},
    "selector minimal-sample": {"budget": 3},
    "solver few-shot": {"examples": {"use": "demo-text"}},
    "trainer staged": {"stages": [{"name": "one"}], "num_workers": 0},
}
REGISTRY = load_plugins()
EVERY = [(kind, name) for kind in KINDS for name in REGISTRY.components(kind)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small files in the forms that readers and models read."""
    import tarfile

    import nibabel
    import pyarrow
    import pyarrow.parquet

    place = tmp_path_factory.mktemp("data")
    rows = [
        {"id": f"r{n}", "turns": [{"role": role, "content": [f"{role} {n}"]} for role in ("user", "assistant")]}
        for n in range(3)
    ]
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    question = {"id": "q", "turns": [{"role": "user", "content": ["Which plane?"]}], "references": ["axial"]}
    (place / "questions.jsonl").write_text(json.dumps(question) + "\n")
    answers = [{"sample_id": f"sample-{n}", "text": "axial"} for n in range(3)]
    said = [{"id": n, "question": f"Which plane is {n}?", "answer": "axial", "response": "axial"} for n in range(3)]
    (place / "answered.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    (place / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    (place / "images").mkdir()
    (place / "images" / "one.png").write_bytes(make_image())
    (place / "images" / "one.txt").write_text("An axial slice.")
    with (place / "rows.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["id", "question", "answer"], ["a", "Which plane?", "axial"]])
    turns = [{"from": "human", "value": "Which plane?"}, {"from": "gpt", "value": "axial"}]
    (place / "llava.json").write_text(json.dumps([{"id": "a", "conversations": turns}]))
    (place / "parquet").mkdir()
    table = pyarrow.Table.from_pylist([{"id": "a", "question": "Which plane?", "answer": "axial"}])
    pyarrow.parquet.write_table(table, place / "parquet" / "rows.parquet")
    with tarfile.open(place / "rows.tar", "w") as archive:
        for name in ("one.png", "one.txt"):
            archive.add(place / "images" / name, name)
    nibabel.save(nibabel.Nifti1Image(np.arange(60.0).reshape(5, 4, 3), np.eye(4)), place / "volume.nii")
    tiny: Any = REGISTRY.make("model", "tiny-qwen3-vl")
    (place / "tiny").mkdir()
    tiny.prepare(place / "tiny", lambda: ["which plane is this axial"], 0)
    return place


@pytest.fixture
def tiny(place: Path) -> Model:
    return REGISTRY.make("model", "transformers", {"checkpoint": str(place / "tiny")})  # type: ignore[return-value]


def media(place: Path, kind: str) -> Media | None:
    volume = str(place / "volume.nii")
    return {
        "image": Media(data=make_image()),
        "nifti": Media(kind="nifti", uri=volume, options={"axis": 2, "index": 1}),
        "montage": None,
        "dicom": Media(kind="dicom", uri=dicom(place)),
    }[kind]


def dicom(place: Path) -> str:
    from pydicom.data import get_testdata_file

    return str(get_testdata_file("CT_small.dcm"))


def check(kind: str, name: str, component: Any, place: Path, tiny: Model) -> None:
    if kind == "modality":
        item = media(place, name)
        check_component(component) if item is None else check_modality(component, item)
    elif kind == "trainer":
        check_trainer(component, tiny)
    elif kind == "objective":
        check_objective(component, tiny.encoder(place / "tiny"))
    elif kind == "baseline":
        check_baseline(component, REGISTRY.make("benchmark", "demo-text"))  # type: ignore[arg-type]
    else:
        {
            "reader": check_reader, "executor": check_executor, "filter": check_filter, "scorer": check_scorer,
            "selector": check_selector, "model": check_model, "resolution scheduler": check_scheduler,
            "packer": check_packer, "benchmark": check_benchmark, "solver": check_solver, "metric": check_metric,
            "reporter": check_reporter, "synthesizer": check_synthesizer, "reward": check_reward,
            "optimizer": check_optimizer, "schedule": check_schedule, "augmentation": check_augmentation,
            "curriculum": check_curriculum,
        }[kind](component)  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=lambda part: part.replace("/", "-").replace(" ", "-"))
def test_built_in(kind: str, name: str, place: Path, tiny: Model) -> None:
    short = f"{kind} {name.split('/')[1]}"
    settings = json.loads(json.dumps(SETTINGS.get(short, {})).replace("PLACE", str(place)))
    component: Any = REGISTRY.make(kind, name, settings)
    if short in NEEDS or (kind == "metric" and component.missing()):
        check_component(component)
    else:
        check(kind, name.split("/")[1], component, place, tiny)


def test_every_kind_has_a_check() -> None:
    assert {kind for kind, _ in EVERY} == set(KINDS)
