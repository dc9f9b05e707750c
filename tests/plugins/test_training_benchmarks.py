"""The training benchmarks run: the one for GPUs in its smallest shape, the parts of the other that are quick."""

from __future__ import annotations

import json
from pathlib import Path

import forked
import pytest

ROOT = Path(__file__).parents[2]


def run(script, *arguments, target):
    done = forked.finish([ROOT / "benchmarks" / script, *arguments, "--json", target], folder=ROOT)
    assert done.returncode == 0, done.stderr
    body = json.loads(target.read_text())
    return body, {one["name"]: one for one in body["targets"]}


@pytest.mark.slow
def test_the_gpu_benchmark_runs_whole_in_its_smallest_shape(tmp_path):
    body, targets = run("gpu_training.py", "--smoke", target=tmp_path / "gpu.json")
    assert all(one["holds"] for one in targets.values()), targets
    runs = body["details"]["runs"]
    for way in ("ours", "HF Trainer"):
        (one,) = runs[way]
        assert one["steps"] >= 1 and one["tokens_per_second"] > one["supervised_tokens_per_second"] > 0
    assert runs["ours"][0]["padding_share"] == 0.0 < runs["HF Trainer"][0]["padding_share"]
    assert runs["TRL SFTTrainer"] or "trl" in body["details"]["TRL SFTTrainer, why not"]


@pytest.mark.slow
def test_freezing_and_operations_hold_on_the_demo(tmp_path):
    pytest.importorskip("nilearn", reason="needs the extra demo")
    pytest.importorskip("peft", reason="needs the extra lora")
    _, targets = run("training.py", "--only", "freezing", "--only", "operations", target=tmp_path / "training.json")
    assert len(targets) == 3 and all(one["holds"] for one in targets.values()), targets
