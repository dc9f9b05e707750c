"""``infimed evaluate`` and ``infimed grade``: an evaluation without a run file; one is written that repeats it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from infimed_core import InfimedError, Sample, load_plugins, run_file, write_atomically
from infimed_plugins.predictions.answered import accepted_answers
from infimed_plugins.predictions.layouts import holds_answers

LOOKED_AT = 50
"""Questions from which it is seen what a benchmark has."""

BenchmarksOption = Annotated[
    list[str] | None,
    typer.Option(help="Benchmarks with commas, each NAME or NAME=FOLDER of its data.", metavar="NAME[=FOLDER],..."),
]
QuestionsOption = Annotated[
    str | None, typer.Option(help="Questions of your own: a file that a reader of samples reads.", metavar="FILE")
]
QuestionsReaderOption = Annotated[
    str | None, typer.Option(help="The reader of --questions: jsonl, llava, csv, parquet ... (by its ending).")
]
ClusterOption = Annotated[
    str | None,
    typer.Option(help="Tag or column of --questions that makes some of them one patient's.", metavar="NAME"),
]
READERS = {
    ".csv": "csv", ".csv.gz": "csv", ".tsv": "csv", ".tsv.gz": "csv", ".parquet": "parquet", ".json": "llava",
    ".json.gz": "llava", ".tar": "webdataset", ".tar.gz": "webdataset", ".tgz": "webdataset",
}  # fmt: skip
"""The reader of a file by its ending; ``jsonl`` of any other."""
LimitOption = Annotated[int | None, typer.Option(min=1, help="Only the first questions of each benchmark.")]
NameOption = Annotated[str, typer.Option(help="Name of the run.")]
DirectoryOption = Annotated[str, typer.Option(help="Where the run's directory is made.", metavar="DIRECTORY")]
JudgeOption = Annotated[
    list[str] | None, typer.Option(help="A model that judges open answers; written as --model.", metavar="MODEL")
]

PriceOption = Annotated[
    list[str] | None,
    typer.Option(help="Money for a million tokens, prompt/answer; repeat for more.", metavar="MODEL=1.25/10"),
]


def evaluate(
    model: Annotated[
        list[str],
        typer.Option(help="openai:URL#NAME, a checkpoint, or LABEL=either; repeat for more.", metavar="MODEL"),
    ],
    benchmarks: BenchmarksOption = None,
    questions: QuestionsOption = None,
    questions_reader: QuestionsReaderOption = None,
    images: Annotated[
        str | None,
        typer.Option(help="Where the images of --questions lie, in it or in folders below.", metavar="FOLDER"),
    ] = None,
    cluster: ClusterOption = None,
    limit: LimitOption = None,
    judge: JudgeOption = None,
    blind: Annotated[
        bool,
        typer.Option(help="Ask again without the images, where there are some; --no-blind saves these calls."),
    ] = True,
    price: PriceOption = None,
    robust: Annotated[
        bool, typer.Option("--robust", help="Ask again with other pictures, damaged ones, other words, other orders.")
    ] = False,
    name: NameOption = "evaluate",
    directory: DirectoryOption = "runs",
) -> None:
    """Ask models the questions of benchmarks, grade, compare and report them: `infimed-run` without a run file."""
    models = _labelled([_model(one) for one in model])
    more: dict[str, Any] = {} if blind else {"baselines": []}
    if limit is not None:
        more["limit"] = limit
    own = _own_questions(questions, questions_reader, cluster, images) if questions else None
    if own is not None:
        _must_show_images(own)
    asked = _benchmarks(benchmarks, own)
    asked += [altered for one in asked for altered in (_altered(one) if robust else ())]
    _run(models, asked, more, judge, name, directory, _prices(price))


def grade(
    files: Annotated[list[str], typer.Argument(help="Files of answers, or LABEL=FILE.", metavar="FILE...")],
    reader: Annotated[
        str, typer.Option(help="Layout of the files: auto, jsonl, lm-eval, lmms-eval, vlmevalkit, medevalkit or llava.")
    ] = "auto",
    benchmarks: BenchmarksOption = None,
    questions: QuestionsOption = None,
    questions_reader: QuestionsReaderOption = None,
    cluster: ClusterOption = None,
    id_field: Annotated[str | None, typer.Option(help="Field of the question's id.")] = None,
    text_field: Annotated[str | None, typer.Option(help="Field of the answer.")] = None,
    judge: JudgeOption = None,
    name: NameOption = "grade",
    directory: DirectoryOption = "runs",
) -> None:
    """Grade answers that another tool got, and compare and report them as if they were asked here.

    Without --questions and --benchmarks the first file's own questions and accepted answers are taken.
    """
    fields = {key: value for key, value in (("id_field", id_field), ("text_field", text_field)) if value}
    models = _labelled([_file(one, {"layout": reader, **fields}) for one in files])
    if not questions and not benchmarks:
        questions, questions_reader = _split(files[0])[1], questions_reader or "answered"
    if questions and questions_reader is None and holds_answers(Path(questions)):
        questions_reader = "answered"
    own = _own_questions(questions, questions_reader, cluster) if questions else None
    if own is not None and questions_reader == "answered":
        own["name"] = "questions" if own["name"] in models else own["name"]
        _tell_other_golds(str(questions), [use["with"]["path"] for use in models.values()])
    asked = [{**use, "solver": {"use": "direct"}} for use in _benchmarks(benchmarks, own)]
    _run(models, asked, {}, judge, name, directory)


def _run(
    models: dict[str, Any],
    benchmarks: list[dict[str, Any]],
    more: dict[str, Any],
    judge: Sequence[str] | None,
    name: str,
    directory: str,
    prices: dict[str, Any] | None = None,
) -> None:
    judges = {f"judge-{label}": use for label, use in _labelled([_model(one) for one in judge or ()]).items()}
    evaluation: dict[str, Any] = {"models": list(models), "benchmarks": benchmarks, **more}
    if judges:
        evaluation["judges"] = list(judges)
    document = {
        "run": {"name": name, "directory": directory},
        "models": models | judges,
        "evaluation": evaluation,
        "report": [{"use": "html", "with": {"prices": prices}} if prices else {"use": "html"}],
    }
    path = Path(directory) / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    write_atomically(path, f"# Written by a command; `infimed-run {path}` does the same again.\n{text}")
    run_file(path, load_plugins())


def _tell_other_golds(path: str, files: Sequence[str]) -> None:
    """Say which files take another answer for right than the file whose questions are asked."""
    known = accepted_answers(path)
    for file in dict.fromkeys(files):
        own = accepted_answers(file) if file != path and holds_answers(Path(file)) else {}
        both = [question for question in own if question in known]
        other = [question for question in both if own[question] != known[question]]
        if other:
            first = " ".join(other[0][0].split())[:80]
            typer.echo(
                f"{file} takes another answer for right than {path} in {len(other):,} of {len(both):,} questions, and "
                f"is graded by {path} (the first: {first!r}: {own[other[0]]}, not {known[other[0]]})",
                err=True,
            )


def _altered(use: dict[str, Any]) -> list[dict[str, Any]]:
    """The benchmark asked in other ways: those that suit its first questions."""
    inner = {key: use[key] for key in ("use", "with") if key in use}
    made: Any = load_plugins().make("benchmark", use["use"], use.get("with"))
    rows = [row for row in islice(made.samples(), LOOKED_AT) if isinstance(row, Sample)]
    ways = ["wrong-image", "degraded-image"] if any(row.media for row in rows) else []
    ways += ["paraphrased", *(["option-shuffled"] if any(row.options for row in rows) else [])]
    name = use.get("name", use["use"].rsplit("/", 1)[-1])
    return [{"use": way, "name": f"{name}-{way}", "with": {"benchmark": inner}} for way in ways]


def _prices(texts: Sequence[str] | None) -> dict[str, Any]:
    found = {}
    for text in texts or ():
        read = re.fullmatch(r"(?P<model>.+)=(?P<prompt>[0-9.]+)/(?P<answer>[0-9.]+)", text)
        if read is None:
            raise InfimedError(f"--price {text}: write MODEL=PROMPT/ANSWER, as in gpt=1.25/10")
        found[_label(read["model"])] = {"prompt": float(read["prompt"]), "answer": float(read["answer"])}
    return found


def _benchmarks(named: Sequence[str] | None, own: dict[str, Any] | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for one in (part.strip() for text in named or () for part in text.split(",")):
        use, sign, folder = one.partition("=")
        if use:
            found.append({"use": use, "with": {"path": folder}} if sign else {"use": use})
    found += [own] if own is not None else []
    if not found:
        raise InfimedError("nothing to ask: name --benchmarks (see `infimed plugins`) or --questions")
    return found


def _own_questions(
    path: str, reader: str | None, cluster: str | None = None, images: str | None = None
) -> dict[str, Any]:
    """The benchmark of a file of questions; a cluster of a table is a column of it."""
    name = Path(path).name.lower()
    reader = reader or next((use for ending, use in READERS.items() if name.endswith(ending)), "jsonl")
    known = load_plugins().find("reader", reader).model_fields
    settings: dict[str, Any] = {"path": path}
    if images is not None:
        settings |= {"image_root": images, **({"search_below": True} if "search_below" in known else {})}
    if cluster is not None and "columns" in known:
        settings["columns"] = {"tags": {cluster: cluster}}
    elif cluster is not None and reader == "answered":
        settings["tags"] = [cluster]
    more = {"cluster": cluster} if cluster is not None else {}
    label = _label(Path(path).name.split(".")[0])
    return {"use": "questions", "name": label, "with": {**more, "reader": {"use": reader, "with": settings}}}


def _must_show_images(own: dict[str, Any]) -> None:
    """Ask nothing about images of which none is there.

    Raises:
        InfimedError: it says where they were looked for.
    """
    reader = own["with"]["reader"]
    made: Any = load_plugins().make("reader", reader["use"], reader["with"])
    told = next((doubt for doubt in made.doubts() if doubt.startswith("NO IMAGE")), None)
    if told is not None:
        path = reader["with"]["path"]
        raise InfimedError(
            f"--questions {path}: {told.partition('; ')[0]}; name the folder that holds them with --images FOLDER, or "
            f"let `infimed init --data {path} --test {path} --model MODEL` write a run file, which finds them"
        )


def _labelled(models: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Models by their labels; a label that is taken gets a number."""
    found: dict[str, Any] = {}
    for label, use in models:
        name, number = label, 2
        while name in found:
            name, number = f"{label}-{number}", number + 1
        found[name] = use
    return found


def _split(text: str) -> tuple[str | None, str]:
    """``LABEL=rest``; an address or a path may hold the sign too, behind a slash or a colon."""
    label, sign, rest = text.partition("=")
    return (label, rest) if sign and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", label) else (None, text)


def _model(text: str) -> tuple[str, dict[str, Any]]:
    label, what = _split(text)
    kind, sign, rest = what.partition(":")
    if kind == "openai" and sign:
        address, _, served = rest.partition("#")
        if not re.match(r"https?://", address):
            raise InfimedError(f"--model {text}: write openai:URL#NAME, as in openai:http://127.0.0.1:8000/v1#qwen")
        use: dict[str, Any] = {"use": "openai-compatible", "with": {"base_url": address}}
        if served:
            use["with"]["model"] = served
        return _label(label or served.rstrip("/").rsplit("/", 1)[-1] or re.sub(r"https?://", "", address)), use
    if sign and not Path(what).exists() and re.match(r"https?$", kind):
        raise InfimedError(f"--model {text}: write openai:URL#NAME for a server")
    return _label(label or Path(what).name), {"use": "transformers", "with": {"checkpoint": what}}


def _file(text: str, settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    label, path = (None, text) if Path(text).exists() else _split(text)
    return _label(label or Path(path).stem), {"use": "predictions", "with": {"path": path, **settings}}


def _label(text: str) -> str:
    """A name that a run file takes."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")
    return "own" if not name else "own-base" if name == "base" else name
