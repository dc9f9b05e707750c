"""Groups of benchmarks, and the seven-set mean of a run's results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from infimed_plugins.medevalkit.cards import cards

SEVEN = "medevalkit-7"


def group(name: str) -> tuple[str, ...]:
    """Names of the benchmarks in a group: ``medevalkit-7``, ``text``, ``chinese`` or ``reports``."""
    return tuple(card.name for card in cards() if name in card.groups)


def members(name: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of a group's benchmarks, each with the group's settings.

    ``path`` is the folder that holds one folder for each benchmark, named as the benchmark, as MedEvalKit names its
    task, or by the beginning of the name where two share upstream's folder (``mmmu`` for ``mmmu-medical-val``).
    """
    entries = []
    for card in cards():
        if name in card.groups:
            own = dict(settings)
            if isinstance(settings.get("path"), str):
                own["path"] = str(_folder(Path(settings["path"]), card.name, card.kit_task))
            if name == "chinese" and card.language != "zh":
                own.setdefault("language", "zh")  # SLAKE has questions in both languages
            entries.append({"use": f"medevalkit/{card.name}", "with": own})
    return entries


def _folder(root: Path, name: str, task: str) -> Path:
    parts = name.split("-")
    candidates = [name, task, *("-".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))]
    return next((root / candidate for candidate in candidates if (root / candidate).is_dir()), root / name)


def seven_set_mean(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The mean accuracy over the seven multimodal sets for each model and scoring of a run's ``results``.

    ``unweighted`` is the mean of the seven accuracies, ``question_weighted`` weights each by its questions.
    Both are ``None`` where a set is missing or has no scored question; ``missing`` names those.
    """
    members = group(SEVEN)
    found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in results:
        name = str(row["benchmark"]).removeprefix("medevalkit/")
        if name in members and not row.get("group") and "accuracy" in row["metrics"]:
            found.setdefault((row["model"], row["scoring"]), {})[name] = row["metrics"]["accuracy"]
    means = []
    for (model, scoring), values in found.items():
        scored = [value for value in values.values() if value["value"] is not None]
        missing = [name for name in members if name not in values or values[name]["value"] is None]
        weight = sum(_num_counted(value) for value in scored)
        complete = not missing
        means.append(
            {
                "model": model,
                "scoring": scoring,
                "unweighted": sum(v["value"] for v in scored) / len(members) if complete else None,
                "question_weighted": sum(v["value"] * _num_counted(v) for v in scored) / weight if complete else None,
                "num_scored": weight,
                "num_unscored": sum(value["num_unscored"] for value in values.values()),
                "missing": missing,
            }
        )
    return means


def _num_counted(value: Mapping[str, Any]) -> int:
    """How many answers a value is over; records from before unread answers counted have the scored ones alone."""
    return int(value["num_scored"] if value.get("num_counted") is None else value["num_counted"])


def lines(means: Iterable[Mapping[str, Any]]) -> list[str]:
    """The means for people, one line each."""
    out = []
    for mean in means:
        head = f"seven-set mean, {mean['model']}, {mean['scoring']}: "
        if mean["missing"]:
            out.append(head + "none, no scored question of " + ", ".join(mean["missing"]))
        else:
            out.append(
                head + f"{mean['unweighted']:.4f} unweighted, {mean['question_weighted']:.4f} weighted by questions "
                f"({mean['num_scored']} scored, {mean['num_unscored']} unscored)"
            )
    return out


def differences(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """For every benchmark and model graded both ways: the strict value, MedEvalKit's, the difference, the unscored."""
    found: dict[tuple[str, str], dict[str, tuple[str, Mapping[str, Any]]]] = {}
    for row in results:
        if not row.get("group") and row["metrics"]:
            name = "accuracy" if "accuracy" in row["metrics"] else next(iter(row["metrics"]))
            place = found.setdefault((str(row["benchmark"]), str(row["model"])), {})
            place[str(row["scoring"])] = (name, row["metrics"][name])
    lines = []
    for (benchmark, model), scorings in found.items():
        if not {"strict", "kit"} <= scorings.keys():
            continue
        (metric, strict), (_, kit) = scorings["strict"], scorings["kit"]
        both = strict["value"] is not None and kit["value"] is not None
        shown = [f"{value['value']:.4f}" if value["value"] is not None else "none" for value in (strict, kit)]
        change = f", difference {strict['value'] - kit['value']:+.4f}" if both else ""
        asked = strict["num_scored"] + strict["num_unscored"]
        rate = strict["num_unscored"] / asked if asked else 0.0
        lines.append(f"{benchmark}, {model}, {metric}: strict {shown[0]}, kit {shown[1]}{change}, {rate:.1%} unscored")
    return lines
