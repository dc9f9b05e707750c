"""A run directory of the documented shape, made up: real files, no real figures."""

import json
import math
import random
from pathlib import Path
from typing import Any

PIXELS = 40
KINDS = ("plane", "position", "tissue", "modality")
MODALITIES = ("MR", "CT", "US", "fundus")
SOURCES = ("atlas", "brain scans")
TASKS = ("recognition", "localisation", "comparison")


def write_image(path: Path, number: int) -> str:
    """A small picture that differs from its neighbours; returns its absolute path."""
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[0:PIXELS, 0:PIXELS].astype(float)
    rings = 127 + 120 * np.sin(np.hypot(x - PIXELS / 2, y - PIXELS / 2) / (1.5 + number % 7) + number)
    Image.fromarray(rings.clip(0, 255).astype("uint8")).convert("RGB").save(path)
    return str(path.resolve())


def sample(number: int, image: str | None, payload: str = "") -> dict[str, Any]:
    kind = KINDS[number % len(KINDS)]
    return {
        "id": f"question-{number}{payload}",
        "turns": [
            {
                "role": "user",
                "content": [*([0] if image else []), f"Question {number}: which {kind} is shown?{payload}"],
            }
        ],
        "media": [{"kind": "image", "uri": image, "data": None, "sha256": None, "options": {}}] if image else [],
        "references": ["A", f"answer {number % 5}{payload}"],
        "options": [f"answer {choice}{payload}" for choice in range(4)],
        "tags": {
            "kind": kind + payload,
            "form": ("open", "option letter")[number % 2],
            **({} if number % 20 == 13 else {"modality": MODALITIES[number % len(MODALITIES)] + payload}),
            "task_type": TASKS[number % len(TASKS)] + payload,
        },
    }


def reasoning(draw: random.Random, letters: int) -> str:
    """So many letters of words before an answer."""
    if letters <= 0:
        return ""
    words = " ".join(draw.choices(("the", "lobe", "shows", "no", "effusion", "left", "of", "lung", "μ"), k=letters))
    return words[: letters - 1] + " "


def graded(
    sample_row: dict[str, Any], level: float, draw: random.Random, payload: str = "", letters: int = 0
) -> dict[str, Any]:
    before = reasoning(draw, letters)
    chance = draw.random()
    value: float | None = 1.0 if chance < level else 0.0
    unscored = chance > 0.97
    score = {
        "value": None if unscored else value,
        "status": "unscored" if unscored else "ok",
        "parts": {},
        "reasons": ["unreadable" + payload] if unscored else [],
        "raw": {},
        "note": f"read as {'A' if value else 'B'}{payload}" + (f" [{letters + 4}:{letters + 9}]" if letters else ""),
    }
    kit = {**score, "value": 1.0 if draw.random() < 0.05 else (value or 0.0), "status": "ok", "reasons": []}
    return {
        "sample": sample_row,
        "answer": {
            "sample_id": sample_row["id"],
            "text": f"{before}The {'right' if value else 'other'} answer.{payload}",
            "error": None,
            "num_prompt_tokens": 40,
            "num_answer_tokens": 6,
            "num_calls": 1,
            "transcript": [
                {
                    "role": "radiology" + payload,
                    "round": 1,
                    "text": "Opinion." + payload,
                    "conclusion": "A" + payload,
                    "num_prompt_tokens": 40,
                },
                {"role": "surgery", "round": 1, "text": "(abstained)", "error": "timed out" + payload},
                {"role": "chair", "round": 2, "text": "Decision." + payload},
            ]
            if chance < 0.05
            else [],
        },
        "scores": {"strict": score, "kit": kit},
    }


def curve(steps: int, start: float, end: float, payload: str = "") -> list[dict[str, Any]]:
    draw = random.Random(steps)
    falls = [end + (start - end) * math.exp(-4 * step / steps) + draw.gauss(0, 0.05) for step in range(1, steps + 1)]
    return [
        {
            "step": step,
            "loss": falls[step - 1],
            "loss_by_source": {name + payload: falls[step - 1] * (1 + 0.2 * at) for at, name in enumerate(SOURCES)},
            "learning_rate": 1e-3 * min(step / 20, 1) * (0.5 + 0.5 * math.cos(math.pi * step / steps)),
            "gradient_norm": 1 + draw.random(),
        }
        for step in range(1, steps + 1)
    ]


def write_run(
    directory: Path,
    questions: int = 60,
    benchmarks: tuple[str, ...] = ("demo-vqa", "demo-text"),
    payload: str = "",
    images: int = 12,
    status: str = "done",
    letters: int = 0,
) -> Path:
    """Write run.json, answers and pictures.

    ``payload`` is put into every text that comes from data; ``letters`` of reasoning stand before every answer.
    """
    draw = random.Random(0)
    (directory / "answers").mkdir(parents=True)
    (directory / "images").mkdir()
    pictures = [write_image(directory / "images" / f"{number}.png", number) for number in range(images)]
    levels = {
        "base": 0.22,
        "pretrain": 0.3,
        "general": 0.55,
        "medical": 0.72,
        "cross-domain": 0.78,
        "most-common-answer": 0.41,
    }
    results = []
    for place, benchmark in enumerate(benchmarks):
        rows = [
            sample(number, None if place else pictures[number % images] if images else None, payload)
            for number in range(questions)
        ]
        for model, level in levels.items():
            lines = [graded(row, level - place * 0.15, draw, payload, letters) for row in rows]
            with (directory / "answers" / f"{benchmark}--{model}.jsonl").open("w") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
            results += _results(benchmark, model, lines)
    steps = _steps(pictures, payload)
    record = {
        "format": 2,
        "name": "full" + payload,
        "status": status,
        "started": "2026-11-24T20:00:00+00:00",
        "finished": "2026-11-24T20:04:31+00:00" if status == "done" else None,
        "config": {"run": {"name": "full" + payload, "seed": 0}, "model": {"use": "tiny-qwen3-vl"}},
        "plugins": [{"name": "demo" + payload, "distribution": "infimed", "version": "0.1.0"}],
        "environment": {"python": "3.11", "cpu": "two cores" + payload, "packages": {"torch": "2.13.0"}},
        "seed": 0,
        "steps": steps,
        "results": results,
        "comparisons": [
            {
                "benchmark": benchmark,
                "scoring": "strict",
                "metric": "accuracy",
                "model": "cross-domain",
                "against": against,
                "difference": difference,
                "low": difference - 0.06,
                "high": difference + 0.06,
                "p_value": 0.0004,
                "num_pairs": questions,
            }
            for benchmark in benchmarks
            for against, difference in (("base", 0.56), ("most-common-answer", 0.37))
        ],
        "error": None,
    }
    (directory / "run.json").write_text(json.dumps(record))
    return directory


def _results(benchmark: str, model: str, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    groupings: tuple[tuple[str, ...], ...] = ((), ("kind",), ("form",), ("modality", "task_type"))
    for scoring in ("strict", "kit"):
        for names in groupings:
            parts: dict[tuple[str, ...], list[float | None]] = {}
            for line in lines:
                key = tuple(line["sample"]["tags"].get(name, "unlabelled") for name in names)
                parts.setdefault(key, []).append(line["scores"][scoring]["value"])
            for key, values in parts.items():
                scored = [value for value in values if value is not None]
                mean = sum(scored) / len(scored) if scored else None
                half = 0.0 if mean is None else 1.96 * math.sqrt(max(mean * (1 - mean), 0.01) / len(scored))
                metric = {
                    "value": mean,
                    "low": None if mean is None else max(mean - half, 0),
                    "high": None if mean is None else min(mean + half, 1),
                    "num_scored": len(scored),
                    "num_unscored": len(values) - len(scored),
                }
                rows.append(
                    {
                        "benchmark": benchmark,
                        "version": "1",
                        "model": model,
                        "scoring": scoring,
                        "group": dict(zip(names, key, strict=True)),
                        "metrics": {"accuracy": metric},
                    }
                )
    return rows


def _steps(pictures: list[str], payload: str) -> list[dict[str, Any]]:
    def score(value: float, *reasons: str) -> dict[str, Any]:
        return {
            "value": value,
            "status": "ok",
            "parts": {"clarity": value},
            "reasons": [r + payload for r in reasons],
            "note": "",
        }

    dimensions = {
        name + payload: {
            "histogram": [round(90 * math.exp(-((b / 20 - mean) ** 2) / 0.02)) for b in range(20)],
            "num_null": 3,
            "mean": mean,
        }
        for name, mean in (
            ("image quality", 0.7),
            ("text quality", 0.8),
            ("alignment", 0.55),
            ("richness", 0.4),
            ("safety", 0.9),
        )
    }
    image = pictures[0] if pictures else None
    worst = [
        {
            "sample": sample(n, pictures[n % len(pictures)] if pictures else None, payload),
            "score": score(0.1 + n / 50, "blurred", "too_short"),
        }
        for n in range(6)
    ]
    best = [{"sample": sample(n, image, payload), "score": score(0.98 - n / 99)} for n in range(6)]
    steps: list[dict[str, Any]] = [
        {
            "name": "read",
            "kind": "read",
            "num_in": 1260,
            "num_out": 1254,
            "dropped": {"truncated" + payload: 4, "missing_file": 2},
            "seconds": 2.1,
        },
        {
            "name": "score",
            "kind": "score",
            "subject": {"scorer": "five-dimension"},
            "num_in": 1254,
            "num_out": 1254,
            "seconds": 14.0,
            "details": {
                "dimensions": dimensions,
                "worst": worst,
                "best": best,
                "reasons": {"blurred" + payload: 31, "too_short": 12},
                "correlations": {
                    "dimensions": list(dimensions),
                    "matrix": [
                        [1.0 if a == b else round(0.9 - 0.2 * abs(a - b), 2) for b in range(5)] for a in range(5)
                    ],
                    "num_samples": 1254,
                },
            },
        },
        {
            "name": "filter-contamination",
            "kind": "filter",
            "subject": {"filter": "contamination"},
            "num_in": 1254,
            "num_out": 1251,
            "dropped": {"test_question" + payload: 3},
            "seconds": 0.9,
            "details": {
                "num_samples": 1254,
                "removed": True,
                "by_benchmark": {"demo-vqa" + payload: {"num_questions": 60, "num_questions_met": 3}},
                "reasons": {"near_image" + payload: 2},
            },
        },
        {
            "name": "select",
            "kind": "select",
            "num_in": 1251,
            "num_out": 1003,
            "dropped": {"below_threshold": 217, "duplicate": 31},
            "seconds": 0.2,
            "details": {
                "rejected_by": {"below_threshold" + payload: 220, "duplicate": 31},
                "kills": {name: {"num": 40 + 9 * place, "alone": 5 * place} for place, name in enumerate(dimensions)},
                "by_tag": {"modality": {"MR" + payload: {"in": 800, "kept": 700}, "CT": {"in": 454, "kept": 303}}},
            },
        },
        {"name": "index", "kind": "index", "num_in": 1003, "num_out": 1003, "seconds": 1.0},
    ]
    for stage, start, end in (
        ("pretrain", 6.2, 2.1),
        ("general", 2.6, 1.2),
        ("medical", 1.6, 0.7),
        ("cross-domain", 0.9, 0.5),
    ):
        phases = [
            {
                "max_visual_tokens": cap,
                "num_samples": count,
                "num_rows": count // 9,
                "fill": 0.96 + cap / 1000,
                "num_tokens": count * 110,
            }
            for cap, count in ((9, 700), (36, 303))
        ]
        subject = {"stage": stage}
        steps += [
            {"name": f"plan-{stage}", "kind": "plan", "subject": subject, "num_in": 1003, "num_out": 1002,
             "dropped": {"too_long": 1}, "seconds": 0.3,
             "details": {"phases": phases, "num_steps": 111}},
            {"name": f"train-{stage}", "kind": "train", "subject": subject, "seconds": 42.0,
             "details": {"steps": 111, "tokens": 110330, "supervised_tokens": 22000, "images": 1003,
                         "padding_share": 0.02, "tokens_per_second": 2626.9, "data_wait_share": 0.03,
                         "flops": 3.1e12, "loss_first": start, "loss_last": end,
                         "curve": curve(400, start, end, payload),
                         "sources": {name + payload: {"supervised_tokens": 11000, "loss_first": start, "loss_last": end}
                                     for name in SOURCES}}},
        ]  # fmt: skip
    judges = {
        "panel" + payload: {"judged": 60, "unscored": 0},
        "panel and other": {"num_both": 60, "kappa": 0.81},
    }
    steps.append(
        {
            "name": "evaluate-cross-domain-demo-vqa",
            "kind": "evaluate",
            "subject": {"model": "cross-domain", "benchmark": "demo-vqa"},
            "num_in": 120,
            "num_out": 120,
            "seconds": 6.0,
            "details": {"judges": judges},
        }
    )
    return [
        {"status": "done", "artifact": None, "num_in": None, "num_out": None, "dropped": {}, "details": {}, **step}
        for step in steps
    ]
