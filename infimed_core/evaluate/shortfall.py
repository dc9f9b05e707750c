"""What a run's models left unanswered: a run that failed there says so, whatever else went well."""

from __future__ import annotations

from infimed_core.api.reporting import RunRecord

MOST_UNANSWERED = 0.1
"""The share of a benchmark's questions that may stay without an answer before a run calls itself incomplete."""


def shortfall(record: RunRecord) -> tuple[bool, str]:
    """Whether no question of the run was answered, and a line for all that lacks more than ``MOST_UNANSWERED``.

    The line is "" where nothing does. A model that could not be asked at all lacks every answer."""
    told: list[str] = []
    said, num_answered, was_asked = "", 0, False
    for step in record.steps:
        if step.kind == "evaluate" and step.status in ("done", "reused"):
            was_asked = True
            num, errors = step.num_out or 0, step.details.get("errors")
            num_errors = errors if isinstance(errors, int) else 0
            num_answered += num - num_errors
            if num_errors > MOST_UNANSWERED * num:
                who = f"{step.subject.get('model')} on {step.subject.get('benchmark')}"
                why = f"(mostly: {step.details.get('first_error')})"
                shown, said = "(mostly the same)" if why == said else why, why
                told.append(f"{who}: {num_errors:,} of {num:,} questions have no answer {shown}")
        elif step.kind in ("evaluate", "model") and step.status == "failed":
            said, was_asked = "", True
            told.append(f"{step.subject.get('model', 'base')}: not asked: {step.details.get('failure')}")
    return was_asked and not num_answered, "; ".join(told)
