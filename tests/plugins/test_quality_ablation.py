"""The ablation's example: it runs, selection removes what was injected, and each arm is one change of a run file."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from infimed_core.plugins import load_plugins
from infimed_core.run import run
from infimed_core.runfile.loading import load_run_file

EXAMPLE = Path(__file__).parents[2] / "examples" / "quality_ablation.yaml"
ARMS = (
    {"use": "top-share", "with": {"keep": 0.5, "hard_minimums": False}},
    {"use": "random-share", "with": {"keep": 0.5}},
    {"use": "bottom-share", "with": {"keep": 0.5, "on_null": "keep"}},
    {"use": "top-share", "with": {"keep": 0.5, "hard_minimums": False, "without": ["image_quality"]}},
)


def small(folder: Path, **sections: Any) -> Path:
    """The example on few pictures, with sections replaced; ``None`` leaves one out."""
    body = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")) | sections
    body["run"]["directory"] = str(folder)
    body["data"]["sources"][0]["with"]["max_images"] = 40
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump({name: section for name, section in body.items() if section is not None}))
    return file


def test_the_top_half_holds_fewer_injected_defects_than_a_random_half_and_that_fewer_than_the_bottom(
    tmp_path: Path,
) -> None:
    registry = load_plugins()
    shares: list[float] = []
    kept: list[Counter[str]] = []
    later = dict.fromkeys(("model", "resolution", "packing", "training", "evaluation", "report"))
    for number, select in enumerate(ARMS):
        file = small(tmp_path, **later, quality={"scorers": [{"use": "five-dimension"}], "select": select})
        record = run(load_run_file(file, registry), registry, lambda event: None)
        steps = {step.name: step for step in record.steps}
        assert steps["score"].status == ("done" if number == 0 else "reused"), "another selection scores nothing again"
        folder = tmp_path / "quality-ablation"
        lines = (folder / (steps["read"].artifact or "") / "samples.jsonl").read_text(encoding="utf-8").splitlines()
        defects = {row["id"]: row["tags"].get("defect", "none") for row in map(json.loads, lines)}
        text = (folder / (steps["select"].artifact or "") / "selection.jsonl").read_text(encoding="utf-8")
        verdicts = [json.loads(line) for line in text.splitlines()]
        kept.append(Counter(defects[verdict["id"]] for verdict in verdicts if verdict["kept"]))
        assert abs(kept[-1].total() - len(verdicts) / 2) <= 1
        shares.append(1 - kept[-1]["none"] / kept[-1].total())
    top, random, bottom, _ = shares
    assert top < random - 0.2 and random < bottom - 0.2
    assert kept[0]["noise"] == kept[0]["garbled_text"] == 0 < kept[3]["noise"]


@pytest.mark.slow
def test_the_example_runs_to_its_end(tmp_path: Path) -> None:
    registry = load_plugins()
    overrides = {
        "training.with.stages.0.num_samples": 24,
        "evaluation.limit": 8,
        "model.with.layers": 1,
        "model.with.vision_layers": 1,
    }
    record = run(load_run_file(small(tmp_path), registry, overrides), registry, lambda event: None)
    assert record.status == "done" and {row.model for row in record.results} >= {"base", "train"}
