"""A model card: what a checkpoint is, what it was trained on, how, and how well it did, as a README.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import yaml

from infimed_core import Reporter
from infimed_core.records import ResultRow, Run, is_baseline

NOT_A_DEVICE = (
    "This model is **not a medical device**. It has not been examined by any authority, it makes mistakes, and nothing "
    "that it says may decide on the treatment of a patient. It is for research."
)
SETTINGS = ("resolution", "packing", "training")
"""Sections of the run file that a card shows whole; the others hold paths of the machine that trained."""


class ModelCard(Reporter):
    """A model card of the run's last model, model-card.md."""

    def write(self, run: Run, directory: Path) -> Sequence[Path]:
        """Write ``model-card.md``."""
        from infimed_core import write_atomically

        write_atomically(directory / "model-card.md", card_of(run, run.last_model))
        return [directory / "model-card.md"]


def card_of(
    run: Run | None, model: str, name: str | None = None, base: str | None = None, licence: str | None = None,
    is_adapter: bool = False,
) -> str:  # fmt: skip
    """The text of a card; without a ``run`` it says what is not known.

    Args:
        model: the model's name in the run: a stage, or ``base``.
        name: the title; the run's and the stage's by default.
        base: what it was trained from, as the hub names it.
        licence: the licence that the person who publishes it gives; "other" where none is given.
        is_adapter: whether it is a PEFT adapter and no whole model.
    """
    base = base or (_base_of(run) if run is not None else None)
    title = name or (f"{run.name}-{model}" if run is not None else model)
    parts = [_front(base, licence, is_adapter), f"# {title}", NOT_A_DEVICE, _what(base, is_adapter)]
    if run is None:
        parts.append("How this model was trained is not known: no run of InfiMed lies beside it.")
    else:
        parts += [*_data(run), *_stages(run, model), *_results(run, model), *_made_by(run)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(base: str | None, licence: str | None, is_adapter: bool) -> str:
    front: dict[str, Any] = {"license": licence or "other", "library_name": "peft" if is_adapter else "transformers"}
    if base is not None and base.count("/") == 1 and not base.startswith((".", "/")):
        front["base_model"] = base
        front["base_model_relation"] = "adapter" if is_adapter else "finetune"
    front |= {"pipeline_tag": "image-text-to-text", "tags": ["medical", "infimed"]}
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---"


def _what(base: str | None, is_adapter: bool) -> str:
    kind = "A LoRA adapter" if is_adapter else "A model"
    return f"{kind} trained with InfiMed{f' from {base}' if base else ''}."


def _base_of(run: Run) -> str | None:
    section = run.record.config.get("model")
    settings = section.get("with") if isinstance(section, dict) else None
    named = settings.get("checkpoint") if isinstance(settings, dict) else None
    if not isinstance(named, str):
        return str(section.get("use")) if isinstance(section, dict) else None
    return PurePath(named).name if named.startswith(("/", ".", "~")) else named


def _data(run: Run) -> Iterator[str]:
    """The funnel and what the samples are."""
    steps = [step for step in run.record.steps if step.kind in ("read", "filter", "score", "select", "index")]
    if not any(step.num_in is not None for step in steps):
        return
    yield "## Data"
    yield _table(
        ["step", "in", "out", "left out"],
        [
            [step.name, _count(step.num_in), _count(step.num_out), _reasons(step.dropped)]
            for step in steps
            if step.num_in is not None
        ],
    )
    if run.artifact(run.step("read")) is None:
        return
    sources: Counter[tuple[str, str]] = Counter()
    for row in run.samples():
        if row.kept:
            sources[row.sample.tags.get("source", ""), row.sample.licence or "not stated"] += 1
    yield "Samples that it could be trained on, by source and licence of the data:"
    rows = [[source or "not stated", licence, _count(count)] for (source, licence), count in sorted(sources.items())]
    yield _table(["source", "licence", "samples"], rows)
    yield "A licence that is not stated has to be looked up at the source before the model is passed on."


def _stages(run: Run, model: str) -> Iterator[str]:
    steps = run.steps("train")
    names = [step.subject.get("stage", "") for step in steps]
    steps = steps[: names.index(model) + 1] if model in names else []
    if not steps:
        return
    yield "## Training"
    rows = []
    for step in steps:
        facts = step.details
        loss = " to ".join(_number(facts.get(key)) for key in ("loss_first", "loss_last"))
        counts = [_count(facts.get(key)) for key in ("steps", "samples", "tokens", "supervised_tokens")]
        rows.append([step.subject.get("stage", step.name), *counts, loss, str(facts.get("precision", ""))])
    yield _table(["stage", "steps", "samples", "tokens", "of them learned", "loss", "precision"], rows)
    settings = {key: run.record.config[key] for key in SETTINGS if run.record.config.get(key)}
    written = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).rstrip()
    yield f"<details><summary>Settings</summary>\n\n```yaml\n{written}\n```\n\n</details>"


def _results(run: Run, model: str) -> Iterator[str]:
    shown = [row for row in run.results() if not row.group and (row.model in ("base", model) or is_baseline(row.model))]
    if not any(row.model == model for row in shown):
        yield "## Results\n\nThis model was not graded in the run that trained it."
        return
    yield "## Results"
    yield "With 95% intervals for the questions that were drawn; they do not cover the chance of another training."
    yield _table(
        ["benchmark", "version", "model", "scoring", "metric", "value", "answers"],
        [
            [row.benchmark, row.version, f"**{row.model}**" if row.model == model else row.model, row.scoring, *cells]
            for row in shown
            for cells in _cells(row)
        ],
    )


def _cells(row: ResultRow) -> Iterator[list[str]]:
    for name, metric in row.metrics.items():
        interval = f" [{_number(metric.low)}, {_number(metric.high)}]" if metric.low is not None else ""
        yield [name, f"{_number(metric.value)}{interval}", _count(metric.num_scored + metric.num_unscored)]


def _made_by(run: Run) -> Iterator[str]:
    record = run.record
    plugins = ", ".join(f"{plugin.name} {plugin.version}" for plugin in record.plugins)
    seed = record.config.get("run", {})
    number = seed.get("seed", 0) if isinstance(seed, dict) else 0
    yield f"## How it was made\n\nRun `{run.name}`, seed {number}, {record.started[:10]}. Plugins: {plugins}."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in lines
    )


def _reasons(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {code}" for code, count in sorted(dropped.items())) or "none"


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "?" if value is None else str(value)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else "?"
