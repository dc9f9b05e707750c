"""A sweep as a table and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infimed_plugins.reporting.sweep.results import SweepResult


def as_markdown(result: SweepResult) -> str:
    """The comparison as a Markdown document."""
    text = [f"# Sweep of {Path(result.source).name}", ""]
    text += [
        f"Each variant's last model; differences are paired with `{result.reference}` on the same questions. Intervals "
        "are 95% over questions (whole clusters); what the seed changes stands beside them.",
        "",
    ]
    columns, rows = table_of(result)
    text += _markdown(columns, rows)
    if result.costs:
        text += ["", "## Training", ""]
        head = ["variant", "seconds", "samples", "tokens", "operations"]
        numbers = [(cost.samples, cost.tokens) for cost in result.costs]
        rows = [
            [cost.variant, f"{cost.seconds:.1f}", f"{samples:,.0f}", f"{tokens:,.0f}", f"{cost.flops:.3g}"]
            for cost, (samples, tokens) in zip(result.costs, numbers, strict=True)
        ]
        text += _markdown(head, rows)
    text += ["", "## Variants", ""]
    for name, changes in result.variants.items():
        what = "; ".join(f"`{path}` = {value}" for path, value in changes.items()) or "the file as it is"
        text.append(f"- `{name}`: {what}")
    for name, reason in result.missing.items():
        text.append(f"- not finished: `{name}`: {reason}")
    return "\n".join(text) + "\n"


def table_of(result: SweepResult) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the comparison: a line for each benchmark and variant."""
    several = any(len(line.seeds) > 1 for line in result.lines)
    columns = ["benchmark", "variant", "model", "score [95%]", f"minus {result.reference} [95%]"]
    columns += ["by seed"] if several else []
    rows = []
    for line in result.lines:
        value, other = line.value, line.against_reference
        score = "none" if value.value is None else f"{value.value:.3f}"
        if value.low is not None and value.high is not None:
            score += f" [{value.low:.3f}, {value.high:.3f}]"
        if value.num_unscored:
            score += f", {value.num_unscored} of {value.num_scored + value.num_unscored} unscored"
        shown = f"{other.difference:+.3f} [{other.low:+.3f}, {other.high:+.3f}]" if other else ""
        num_answers = value.num_scored + value.num_unscored
        if other and other.num_pairs * len(line.seeds) != num_answers:
            shown += f", {other.num_pairs} pairs"
        row = [line.benchmark, line.variant, ", ".join(line.models), score, shown]
        if several:
            seeds = other.by_seed if other else line.by_seed
            sign = "+" if other else ""
            row.append(", ".join("none" if v is None else f"{v:{sign}.3f}" for v in seeds.values()))
        rows.append(row)
    return columns, rows


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines]
