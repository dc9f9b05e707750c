"""What `infimed compare` must say, computed without it: scores from the answers' files, tests by statsmodels."""

import json
from pathlib import Path
from typing import Any

import numpy as np


def scores(
    directory: Path, benchmark: str, model: str = "base"
) -> dict[str, tuple[float | None, str, tuple[str, str]]]:
    """Score, image and cell of every question, read from the answers' file without the code under test.

    An answer that could not be read is not right: 0. Only a question without an answer has no score.
    """
    found = {}
    for line in (directory / "answers" / f"{benchmark}--{model}.jsonl").read_text().splitlines():
        row = json.loads(line)
        tags = row["sample"]["tags"]
        cell = (tags.get("modality", "unlabelled"), tags.get("task_type", "unlabelled"))
        value = None if row["answer"]["error"] else row["scores"]["strict"]["value"] or 0.0
        found[row["sample"]["id"]] = (value, tags.get("image", row["sample"]["id"]), cell)
    return found


def by_hand(one: dict[str, Any], other: dict[str, Any], cell: tuple[str, str] | None = None) -> dict[str, Any]:
    """Difference, interval and p-value: statsmodels' clustered OLS on a constant; McNemar where nothing clusters.

    The degrees of freedom are the clusters less one, or twice the squared sum of squares over what their squares vary.
    """
    import statsmodels.api as sm
    from scipy import stats
    from statsmodels.stats.contingency_tables import mcnemar

    kept = [
        name for name, (value, _, place) in one.items()
        if value is not None and other[name][0] is not None and cell in (None, place)
    ]  # fmt: skip
    a = np.array([one[name][0] for name in kept])
    b = np.array([other[name][0] for name in kept])
    groups = np.unique([one[name][1] for name in kept], return_inverse=True)[1]
    found: dict[str, Any] = {"difference": float(np.mean(a - b)), "num_pairs": len(kept)}
    number = len(set(groups))
    if number == len(kept):
        table = [[int(np.sum((a == i) & (b == j))) for j in (1, 0)] for i in (1, 0)]
        found["p_value"] = float(mcnemar(table, exact=True).pvalue)
    if len(kept) < 2 or np.ptp(a - b) == 0 or number < 2:
        return found
    fit = sm.OLS(a - b, np.ones(len(kept))).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    squares = np.array([(a - b - np.mean(a - b))[groups == group].sum() for group in set(groups)]) ** 2
    if squares.sum() < 1e-20:
        return found  # all images differ alike
    varying = (squares**2).sum() - squares.sum() ** 2 / number
    freedom = min(number - 1, 2 * squares.sum() ** 2 / varying) if varying > 1e-12 else number - 1
    found |= {"error": float(fit.bse[0]), "freedom": max(freedom, 1.0)}
    if number == len(kept):
        return found
    half = stats.t.ppf(0.975, found["freedom"]) * found["error"]
    p_value = 2 * stats.t.sf(abs(found["difference"]) / found["error"], found["freedom"])
    low, high = found["difference"] - half, found["difference"] + half
    return found | {"low": max(low, -1), "high": min(high, 1), "p_value": p_value}


STAGES = [{"name": name, "num_samples": num, "learning_rate": 3e-3} for name, num in (("first", 300), ("second", 600))]
THREE = {"base": [], "one": STAGES[:1], "all": STAGES}
"""Three small runs of the demo: the base model, one stage, all stages."""


def demo(name: str, stages: list[dict[str, Any]]) -> dict[str, Any]:
    data = {"max_images": 40, "forms": ["yes-no", "option-letter"], "kinds": ["plane"], "include_text": False}
    model = {"vocab_size": 600, "layers": 1, "vision_layers": 1, "hidden_size": 64, "answer_max_visual_tokens": 4}
    return {
        "run": {"name": name, "seed": 1},
        "data": {"sources": [{"use": "demo-anatomy", "with": data}]},
        "model": {"use": "tiny-qwen3-vl", "with": model},
        "resolution": {"use": "fixed", "with": {"max_visual_tokens": 4}},
        "packing": {"use": "best-fit", "with": {"row_tokens": 256}},
        **({"training": {"use": "staged", "with": {"stages": stages}}} if stages else {}),
        "evaluation": {"benchmarks": [{"use": "demo-vqa", "with": {"max_samples": 60}}]},
    }


def gaps(runs: dict[str, Path], rows: Any) -> list[float]:
    """How far every difference, bound and p-value of a comparison is from the one computed by hand."""
    found = []
    for row in rows:
        one, other = (
            scores(runs[label.split(":")[0]], row.of, label.split(":")[1]) for label in (row.model, row.against)
        )
        cell = (row.part["modality"], row.part["task_type"]) if row.part else None
        expected = by_hand(one, other, cell)
        assert row.num_pairs == expected["num_pairs"], row
        for name in ("difference", "low", "high", "p_value"):
            if name in expected:
                found.append(abs(getattr(row, name) - expected[name]))
    return found
