"""``infimed rescore``: saved answers graded again, and how the two scorings differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from infimed_core import InfimedError
from infimed_core.records import open_run


def rescore_command(
    path: Annotated[Path, typer.Argument(help="MedEvalKit's results.json or its folder, or answers/*.jsonl of a run.")],
    task: Annotated[
        str, typer.Option(help="Benchmark, by our name or MedEvalKit's (slake, VQA_RAD ...); or questions.")
    ],
    scoring: Annotated[str, typer.Option(help="kit (bug for bug), strict or both.")] = "both",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    samples: Annotated[bool, typer.Option("--samples", help="With --json: every sample's value and reason.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="List the samples on which the two differ.")] = False,
) -> None:
    """Grade saved answers again, without a model: MedEvalKit's own arithmetic beside the right one."""
    from infimed_plugins.medevalkit.rescore import rescore

    result = rescore(path, task, scoring, samples, explain)
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False))
        return
    for line in lines(result):
        typer.echo(line)


def seven_set_mean_command(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or its run.json.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The mean accuracy over MedEvalKit's seven multimodal sets, for every model and scoring of a run."""
    from infimed_plugins.medevalkit.groups import lines as mean_lines
    from infimed_plugins.medevalkit.groups import seven_set_mean

    means = seven_set_mean(_results(run))
    if as_json:
        typer.echo(json.dumps(means, ensure_ascii=False))
        return
    for line in mean_lines(means) or ["no result of any of the seven sets in this run"]:
        typer.echo(line)


def print_complete_means(directory: str) -> None:
    """How the two scorings of a finished run differ, and its seven-set means, those that lack no set."""
    from infimed_plugins.medevalkit.groups import differences, seven_set_mean
    from infimed_plugins.medevalkit.groups import lines as mean_lines

    try:
        results = _results(Path(directory))
    except InfimedError:
        return
    for line in differences(results):
        typer.echo(line)
    means = seven_set_mean(results)
    for line in mean_lines(mean for mean in means if not mean["missing"]):
        typer.echo(line)


def _results(run: Path) -> list[dict[str, Any]]:
    return [row.model_dump(mode="json") for row in open_run(run).record.results]


def lines(result: dict[str, Any]) -> list[str]:
    """The result as a table for people, then samples and disagreements where they were asked for."""
    shown = [name for name in ("kit", "strict") if name in result]
    out = [result["task"], *_table({name: _flat(result[name]["metrics"]) for name in shown})]
    for name in shown:
        if crashes := result[name].get("crashes"):
            out.append(f"{name}: MedEvalKit itself would have stopped at {crashes} samples; counted as wrong")
    for name in shown:
        for number, sample in enumerate(result[name].get("samples", ())):
            out.append(f"{name} sample {number}: {sample['value']} {sample['reason'] or ''}".rstrip())
    if "disagreements" in result:
        out += ["", f"{len(result['disagreements'])} samples on which kit and strict differ"]
        out += [_explained(row) for row in result["disagreements"]]
    return out


def _table(flat: dict[str, dict[str, float | None]]) -> list[str]:
    keys = list(dict.fromkeys(key for values in flat.values() for key in values))
    width = max((len(key) for key in keys), default=10)
    both = len(flat) == 2
    headings = [*flat, "difference"] if both else [*flat]
    out = [" " * width + "".join(f"{heading:>12}" for heading in headings)]
    for key in keys:
        values = [columns.get(key) for columns in flat.values()]
        first, last = values[0], values[-1]
        if both and first is not None and last is not None:
            values.append(last - first)
        out.append(f"{key:<{width}}" + "".join(f"{_show(value):>12}" for value in values))
    return out


def _explained(row: dict[str, Any]) -> str:
    where = f" in {row['statement']!r}" if row.get("statement") and row["statement"] != row["read"] else ""
    where += " at {}:{}".format(*row["span"]) if row.get("span") else ""
    read = f"read as {row['read']!r}{where}" if row["read"] else f"not read ({row['reason']})"
    response = " ".join(str(row["response"]).split())
    response = response if len(response) <= 100 else response[:97] + "..."
    return f"  {row['index']}: kit {row['kit']} strict {row['strict']}: {response!r} {read}; gold {row['answer']!r}"


def _flat(metrics: dict[str, Any], prefix: str = "") -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for key, value in metrics.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key} / ")
        else:
            found[prefix + key] = value
    return found


def _show(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"
