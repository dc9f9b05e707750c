"""``infimed validate-scorer``: known damage, false alarms and people's labels against any scorer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from infimed_core import (
    Answer,
    ConfigError,
    DataError,
    InfimedError,
    JudgingScorer,
    MediaLoader,
    Request,
    Sample,
    Score,
    Scorer,
    parse_value,
    read_named,
)


def validate_scorer_command(
    scorer: Annotated[str, typer.Option(help="An installed scorer.")] = "five-dimension",
    with_: Annotated[
        list[str] | None, typer.Option("--with", help="A setting of the scorer.", metavar="NAME=VALUE")
    ] = None,
    reader: Annotated[
        str, typer.Option(help="A reader of clean samples; pictures and captions of ours if empty.")
    ] = "",
    reader_with: Annotated[
        list[str] | None, typer.Option("--reader-with", help="A setting of the reader.", metavar="NAME=VALUE")
    ] = None,
    model: Annotated[str, typer.Option(help="The model that a judging scorer asks.")] = "openai-compatible",
    model_with: Annotated[
        list[str] | None, typer.Option("--model-with", help="A setting of that model.", metavar="NAME=VALUE")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV of people's labels: id, rater, one column a dimension. Needs --reader.")
    ] = None,
    ladder: Annotated[bool, typer.Option("--ladder/--no-ladder", help="Damage the clean samples.")] = True,
    corruptions: Annotated[str, typer.Option(help="Some corruptions, separated by commas; all by default.")] = "",
    severities: Annotated[str, typer.Option(help="Severities, 1 to 5, separated by commas.")] = "1,2,3,4,5",
    limit: Annotated[int, typer.Option(help="At most this many clean samples; 0 is no limit.")] = 200,
    to: Annotated[
        Path | None, typer.Option(help="A file that takes every result as it is done; the same command goes on there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Damage clean samples in known ways and degrees: does a scorer notice, in the right place, and spare the clean?"""
    from infimed_plugins.quality.agreement import agreement, read_labels
    from infimed_plugins.quality.clean import clean_samples
    from infimed_plugins.quality.installed import component, media_loader

    media = media_loader()
    made: Scorer = _made(component("scorer", scorer), with_, "--with")
    source = _made(component("reader", reader), reader_with, "--reader-with") if reader else None
    samples = _read(source) if source else clean_samples()
    people = read_labels(labels) if labels else {}
    if limit and len(samples) > limit and not people:
        samples = [samples[number * len(samples) // limit] for number in range(limit)]
    score = _asking(made, media, model, model_with) if isinstance(made, JudgingScorer) else None
    result: dict[str, Any] = {"scorer": scorer, "settings": made.model_dump(mode="json"), "num_samples": len(samples)}
    if ladder:
        asked = {"reader": reader, "reader_with": reader_with, "model": model_with, "severities": severities, **result}
        finished = Finished(to, asked)
        result |= _ladder(made, samples, media, corruptions, severities, score, finished)
    if people:
        from infimed_plugins.quality.ladder import in_batches

        wanted = {identity for by_sample in people.values() for identity in by_sample}
        labelled = [sample for sample in samples if sample.id in wanted]
        scores = (score or in_batches(made, media))(labelled)
        found = {sample.id: score for sample, score in zip(labelled, scores, strict=True)}
        result["agreement"] = agreement(found, people)
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False))
        return
    for line in lines(result):
        typer.echo(line)


def _ladder(
    scorer: Scorer,
    samples: Sequence[Sample],
    media: MediaLoader,
    wanted: str,
    severities: str,
    score: Any,
    finished: Any,
) -> dict[str, Any]:
    from infimed_plugins.quality.corruptions import IMAGE_CORRUPTIONS, SEVERITIES, TEXT_CORRUPTIONS
    from infimed_plugins.quality.ladder import validate
    from infimed_plugins.quality.sample_corruptions import SAMPLE_CORRUPTIONS

    tables = (IMAGE_CORRUPTIONS, TEXT_CORRUPTIONS, SAMPLE_CORRUPTIONS)
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    known = [name for table in tables for name in table]
    for name in names:
        if name not in known:
            raise ConfigError([f"--corruptions: there is no '{name}'; known: {', '.join(known)}"])
    try:
        degrees = sorted({int(part) for part in severities.split(",") if part.strip()})
    except ValueError:
        degrees = []
    if not degrees or not set(degrees) <= set(SEVERITIES):
        raise ConfigError([f"--severities {severities}: give numbers from 1 to 5, as in 1,3,5"])
    images, texts, whole = ([name for name in table if not names or name in names] for table in tables)
    return validate(scorer, samples, media, degrees, images, texts, whole, score, _tell, finished)


def _tell(line: str) -> None:
    typer.echo(line, err=True)


def _read_finished(file: Path | None) -> dict[str, Any]:
    """What a file of results holds; nothing of one that is not there.

    Raises:
        InfimedError: it holds something else, which is not written over.
    """
    if file is None or not file.exists():
        return {}
    try:
        body = json.loads(read_named(file))
        if not isinstance(body, dict) or not isinstance(body.get("corruptions"), dict):
            raise ValueError("it has no corruptions")
    except (OSError, ValueError, RecursionError) as error:
        raise InfimedError(f"--to {file}: holds no results ({error}); name another file, or delete it") from None
    return body


class Finished(dict[str, Any]):
    """Rows of the corruptions that are done, each written to a file as soon as it stands.

    A file of other settings, samples or degrees is begun anew; nothing of it is taken.
    """

    def __init__(self, file: Path | None, asked: Mapping[str, Any]) -> None:
        self._file, self._asked = file, json.loads(json.dumps(dict(asked), default=str))
        before = _read_finished(file)
        super().__init__(before.get("corruptions", {}) if before.get("asked") == self._asked else {})

    def __setitem__(self, name: str, row: Any) -> None:
        super().__setitem__(name, row)
        if self._file is not None:
            text = json.dumps({"asked": self._asked, "corruptions": self}, ensure_ascii=False, indent=1)
            partial = self._file.with_name(f"{self._file.name}.partial")
            partial.write_text(text, encoding="utf-8")
            partial.replace(self._file)


def _settings(given: Sequence[str] | None, option: str) -> dict[str, Any]:
    import yaml

    settings = {}
    for text in given or ():
        name, sign, value = text.partition("=")
        if not sign:
            raise ConfigError([f"{option} {text}: write NAME=VALUE, as in profile=default"])
        try:
            settings[name] = parse_value(value)
        except yaml.YAMLError:
            raise ConfigError([f"{option} {text}: the value is no YAML; put text with signs into quotes"]) from None
    return settings


def _made(kind: Any, given: Sequence[str] | None, option: str) -> Any:
    from pydantic import ValidationError

    try:
        return kind.model_validate(_settings(given, option))
    except ValidationError as error:
        problems = [f"{option}: {'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors()]
        raise ConfigError([f"{problem}; known: {', '.join(kind.model_fields)}" for problem in problems]) from None


def _read(source: Any) -> list[Sample]:
    rows = [row for shard in source.shards() for row in source.read(shard)]
    samples = [row for row in rows if isinstance(row, Sample)]
    if not samples:
        first = f": {rows[0].detail}" if rows else ""
        raise DataError("no_samples", f"--reader: none of its {len(rows)} rows is a sample{first}")
    return samples


def _asking(scorer: JudgingScorer, media: MediaLoader, model: str, given: Sequence[str] | None) -> Any:
    """Scores by asking a model. All identity in these samples is made up, so nothing of it is held back."""
    from infimed_plugins.quality.installed import component

    loaded = _made(component("model", model), given, "--model-with").load(None)

    def ask(requests: Sequence[Request], model: str | None = None) -> list[Answer]:
        numbered = [
            request.model_copy(update={"sample_id": str(number), "tags": {**request.tags, "identity": "clear"}})
            for number, request in enumerate(requests)
        ]
        answers = {answer.sample_id: answer for answer in loaded.answer(numbered, media)}
        return [
            (answers.get(str(number)) or Answer(sample_id="", error="the model gave no answer")).model_copy(
                update={"sample_id": request.sample_id}
            )
            for number, request in enumerate(requests)
        ]

    def score(samples: Sequence[Sample]) -> list[Score]:
        marked = [s.model_copy(update={"tags": {**s.tags, "identity": "clear"}}) for s in samples]
        return scorer.judge(marked, media, ask)

    return score


def lines(result: dict[str, Any]) -> list[str]:
    """The result as tables for people."""
    out = [f"{result['scorer']} on {result['num_samples']} clean samples"]
    if "corruptions" in result:
        rows = result["corruptions"]
        degrees = list(next(iter(rows.values()))["auroc"]) if rows else []
        aurocs_of = [f"AUROC {severity}" for severity in degrees]
        head = ["corruption", "aimed at", "samples", *aurocs_of, "flagged", "monotone", "worst cross-talk"]
        body = []
        for name, row in rows.items():
            worst = max(row["crosstalk"].items(), key=lambda item: item[1], default=None)
            told = f"{worst[1]:.3f} {worst[0]}" if worst else "-"
            aurocs = [_number(value) for value in row["auroc"].values()]
            flagged = _number(list(row["noticed"].values())[-1])
            shown = [*aurocs, flagged, _number(row["monotone_share"]), told]
            body.append([name, row["dimension"], row["num_samples"], *shown])
        out += [
            "",
            *_table(head, body),
            "flagged: share of the damaged samples that the scorer gives under 0.5, at the last degree",
        ]
        left = [[name, num, why] for name, row in rows.items() for why, num in row["left_out"].items()]
        out += ["", "samples that a damage was not done to:", *_table(["corruption", "samples", "why"], left)]
        flags = [
            [dimension, modality, cell["num_samples"], f"{cell['share']:.1%}"]
            for dimension, cells in result["false_flags"].items()
            for modality, cell in cells.items()
            if cell["share"] > 0
        ]
        out += ["", "clean samples under 0.5:", *_table(["dimension", "modality", "samples", "flagged"], flags)]
        names = list(next(iter(result["summary"].values()))) if result["summary"] else []
        summary = [[name, *(_number(row[key]) for key in names)] for name, row in result["summary"].items()]
        out += ["", *_table(["dimension", *(name.replace("_", " ") for name in names)], summary)]
    for dimension, row in result.get("agreement", {}).items():
        low, high = row["spearman_interval"]
        out += [
            "",
            f"{dimension}: {row['num_samples']} labelled samples, {row['num_raters']} raters; "
            f"{row['num_not_scored']} not scored, {row['num_not_among_the_samples']} not among the samples",
            f"  quadratic-weighted kappa {_number(row['quadratic_kappa'])}, between raters "
            f"{_number(row['quadratic_kappa_between_raters'])}",
            f"  Spearman {_number(row['spearman'])} [{_number(low)}, {_number(high)}]",
            f"  Krippendorff's alpha of the raters {_number(row['krippendorff_alpha_of_raters'])}",
        ]
    return out


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(head: list[str], body: list[list[Any]]) -> list[str]:
    if not body:
        return ["  none"]
    text = [head, *([str(cell) for cell in row] for row in body)]
    widths = [max(len(row[column]) for row in text) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in text]
