"""What the curve of a stage tells of the answers of a step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import JsonValue

from infimed_plugins.reinforcement.drawing import Group


def figures_of(
    groups: Sequence[Group], num_asked: int, is_accuracy: Callable[[str], bool], gather: Callable[[Any], list[Any]]
) -> dict[str, JsonValue]:
    """Means over all ranks: ``reward`` and its parts, lengths, pass@1 and pass@K; every rank must call this."""
    sums: defaultdict[str, float] = defaultdict(float)
    for group in groups:
        sums["groups"] += 1
        sums["differing"] += group.differs
        sums["answers"] += len(group.totals)
        sums["reward"] += sum(group.totals)
        sums["squares"] += sum(total**2 for total in group.totals)
        sums["tokens"] += sum(rollout.num_tokens for rollout in group.rollouts)
        sums["cut"] += sum(not rollout.finished for rollout in group.rollouts)
        for name, scores in group.scores.items():
            known = [score.value for score in scores if score.value is not None]
            sums[f"sum {name}"] += sum(known)
            sums[f"known {name}"] += len(known)
            if is_accuracy(name):
                sums["right"] += sum(value == 1.0 for value in known)
                sums["any right"] += any(value == 1.0 for value in known)
                sums["graded"] += 1
    whole: defaultdict[str, float] = defaultdict(float)
    for part in gather(dict(sums)):
        for name, number in part.items():
            whole[name] += number
    if not whole["answers"]:
        return {"questions": num_asked}
    answers, mean = whole["answers"], whole["reward"] / whole["answers"]
    names = sorted({name[6:] for name in whole if name.startswith("known ")})
    facts: dict[str, JsonValue] = {
        "questions": num_asked,
        "rollouts": int(answers),
        "reward": mean,
        "reward_deviation": max(0.0, whole["squares"] / answers - mean**2) ** 0.5,
        "reward_parts": {n: whole[f"sum {n}"] / whole[f"known {n}"] for n in names if whole[f"known {n}"]},
        "unscored": {n: 1.0 - whole[f"known {n}"] / answers for n in names if whole[f"known {n}"] < answers},
        "groups_that_differ": whole["differing"] / whole["groups"],
        "answer_tokens": whole["tokens"] / answers,
        "cut_share": whole["cut"] / answers,
    }
    if whole["graded"]:
        facts |= {"pass_at_1": whole["right"] / answers, "pass_at_k": whole["any right"] / whole["graded"]}
    return facts
