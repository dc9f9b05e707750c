"""``infimed parity``: a checkpoint and the server that serves it, side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from infimed_core import Answer, InfimedError, MediaLoader, Registry, load_plugins, printable
from infimed_plugins.checkpoints.parity import Answers, Finding, Pair, diagnose
from infimed_plugins.checkpoints.places import check_engine, engine_model, find_place, make_model, media_of
from infimed_plugins.checkpoints.probes import Probe, make_probes
from infimed_plugins.checkpoints.served_files import compare_files


class Engine(StrEnum):
    """What answers without a server."""

    vllm = "vllm"


_SLOW = (
    "; `transformers serve` looks on the hub before it replies, which takes about a minute where the hub cannot be "
    "reached (start it with HF_HUB_OFFLINE=1)"
)
TYPES = ("bfloat16", "float16", "float32")


def parity(
    context: typer.Context,
    checkpoint: Annotated[str, typer.Argument(help="A directory, RUN, RUN/STAGE or a name on the hub.")],
    server: Annotated[str | None, typer.Option(help="Its address, such as http://127.0.0.1:8000/v1.")] = None,
    engine: Annotated[
        Engine | None, typer.Option(help="In place of a server: vLLM's own engine in this process, on a GPU.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model's name there; the only one by default.")] = None,
    served: Annotated[
        Path | None, typer.Option(help="The directory that it opened; known by itself where the server tells it.")
    ] = None,
    question: Annotated[str | None, typer.Option(help="A question of your own beside the built-in ones.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="An image of your question; repeat for more.")] = None,
    base: Annotated[str | None, typer.Option(help="The base of an adapter, where it does not tell it.")] = None,
    dtype: Annotated[str, typer.Option(help="Type of the weights here; auto is the checkpoint's own.")] = "auto",
    max_visual_tokens: Annotated[int | None, typer.Option(min=1, help="Most visual tokens of an image here.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, prompts included.")] = False,
) -> None:
    """Ask a checkpoint and its server the same questions and name what differs; exit code 1 where anything does."""
    if (server is None) == (engine is None):
        raise InfimedError("say what the checkpoint is compared with: --server URL, or --engine vllm")
    if engine is not None:
        check_engine()
    registry = context.obj if isinstance(context.obj, Registry) else load_plugins()
    _tell(f"opening {checkpoint} on this machine")
    loader, name = registry.media_loader(), find_place(checkpoint).name
    settings: dict[str, Any] = {"base": base, "answer_max_visual_tokens": max_visual_tokens, "answer_batch_size": 1}
    local = make_model(registry, name, dtype=dtype, **settings).load(None)
    encoder = getattr(local, "encoder", None)
    beneath = getattr(encoder, "base", None)
    is_adapter = isinstance(beneath, Path) and beneath != getattr(encoder, "checkpoint", beneath)
    if server is not None:
        if model is None:
            _tell(f"asking {server} which model it serves{_SLOW}")
        remote = make_model(registry, server, model=model).load(None)
    else:
        remote = engine_model(registry, name, beneath if is_adapter else None, dtype).load(None)
    takes_images = getattr(encoder, "pixels", None) is not None
    probes = make_probes(max_new_tokens, takes_images, question, media_of(image or []))
    _tell(f"asking {len(probes)} questions here")
    here = _ask(local, probes, loader)
    _tell(f"asking {len(probes)} questions there; a server may load its model at the first one")
    there = _ask(remote, probes, loader)
    pairs = [Pair(probe, here[probe.name], there[probe.name]) for probe in probes]

    def answers_of(named: str, wanted: str) -> Callable[[], Answers]:
        given = settings if named == name else {**settings, "base": None}
        return lambda: _ask(make_model(registry, named, dtype=wanted, **given).load(None), probes, loader)

    own_type = str(local.describe().get("dtype", ""))
    types = {wanted: answers_of(name, wanted) for wanted in TYPES if wanted != own_type}
    found = diagnose(pairs, answers_of(str(beneath), dtype) if is_adapter else None, types)
    if engine is None and served is None:
        _tell(f"asking {server} which files it opened{_SLOW if model is not None else ''}")
    opened = served or (_opened(remote.describe()) if engine is None else None)
    if opened is not None and Path(name).is_dir():
        # What files tell is surer than what answers tell, and both may see the same.
        by_files = compare_files(Path(name), opened, beneath if is_adapter else None, served is None)
        found = [*by_files, *(one for one in found if one.kind not in {other.kind for other in by_files})]
    if as_json:
        typer.echo(json.dumps(_as_json(pairs, found, encoder, loader), indent=1))
    else:
        _print(pairs, found, opened, engine)
    if found:
        raise typer.Exit(1)


def _tell(what: str) -> None:
    """What the command does now, on standard error: each of these steps may take minutes."""
    typer.echo(printable(f"{what} ..."), err=True)


def _ask(model: Any, probes: Sequence[Probe], loader: MediaLoader) -> dict[str, Answer]:
    answers = model.answer([probe.request for probe in probes], loader)
    return {answer.sample_id: answer for answer in answers}


def _opened(described: dict[str, Any]) -> Path | None:
    """The directory on this machine that a server says it opened."""
    named = described.get("served") or {}
    for said in (named.get("root"), named.get("id"), described.get("model")):
        if isinstance(said, str) and described.get("on_this_machine") and (Path(said) / "config.json").is_file():
            return Path(said)
    return None


def _as_json(pairs: Sequence[Pair], found: Sequence[Finding], encoder: Any, loader: MediaLoader) -> dict[str, Any]:
    kept = {"text", "error", "num_prompt_tokens", "num_answer_tokens", "finish_reason"}
    rows = [
        {
            "question": pair.probe.name,
            "prompt_here": _prompt(encoder, pair.probe, loader),
            "same": pair.same,
            "here": pair.here.model_dump(mode="json", include=kept),
            "server": pair.there.model_dump(mode="json", include=kept),
        }
        for pair in pairs
    ]
    return {"same": not found, "findings": [vars(one) for one in found], "questions": rows}


def _prompt(encoder: Any, probe: Probe, loader: MediaLoader) -> str | None:
    """The prompt as the model here is given it, control tokens included; ``None`` for a model that shows none."""
    if not hasattr(encoder, "prompt"):
        return None
    try:
        images = [loader.load(item) for item in probe.request.media]
        return str(encoder.text(encoder.prompt(probe.name, probe.request.turns, images, None).input_ids))
    except InfimedError:
        return None


def _print(pairs: Sequence[Pair], found: Sequence[Finding], opened: Path | None, engine: Engine | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("question", "prompt tokens", "answer tokens", "answer here", "answer of the server", box=None)
    for pair in pairs:
        counts = [_both(getattr(pair.here, name), getattr(pair.there, name)) for name in _COUNTS]
        texts = [printable((answer.error or answer.text or "")[:60]) for answer in (pair.here, pair.there)]
        colour = "" if pair.same else "red"
        table.add_row(pair.probe.name, *counts, *(Text(text, style=colour) for text in texts))
    Console(highlight=False).print(table)
    if engine is None:
        unknown = "which files the server opened is not known: --served tells"
        typer.echo(f"the server opened {opened}" if opened else unknown)
    for one in found:
        typer.echo(f"{one.kind}: {printable(one.seen)}\n  {one.remedy}")
    if not found:
        typer.echo(f"no difference in {len(pairs)} questions")


_COUNTS = ("num_prompt_tokens", "num_answer_tokens")


def _both(here: int | None, there: int | None) -> str:
    return f"{here}" if here == there else f"{here} | {'?' if there is None else there}"
