"""``infimed export`` and ``card``: a checkpoint given away, with what is to be known of it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from infimed_core import InfimedError, Registry, load_plugins, printable
from infimed_plugins.checkpoints.card import card_of
from infimed_plugins.checkpoints.places import Place, find_place
from infimed_plugins.checkpoints.staging import is_adapter, merge_into, stage_files

CheckpointArgument = Annotated[str, typer.Argument(help="A directory, RUN (its last stage) or RUN/STAGE.")]
LicenceOption = Annotated[str | None, typer.Option("--license", help="Licence of the model, by its name on the hub.")]
BaseOption = Annotated[str | None, typer.Option(help="The base: its name on the hub, or where it lies.")]


def export(
    context: typer.Context,
    checkpoint: CheckpointArgument,
    to: Annotated[str | None, typer.Option(help="hub:OWNER/NAME, merged (a whole model) or gguf (llama.cpp).")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Older name of infimed answers --to.", metavar="FILE", hidden=True)
    ] = None,
    benchmark: Annotated[str | None, typer.Option(help="With --out: only this benchmark.", hidden=True)] = None,
    model: Annotated[str | None, typer.Option(help="With --out: only this model.", hidden=True)] = None,
    output: Annotated[Path | None, typer.Option(help="Directory for merged and gguf; beside you by default.")] = None,
    public: Annotated[bool, typer.Option("--public", help="On the hub, let everybody see it.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch on the hub.")] = None,
    base: BaseOption = None,
    licence: LicenceOption = None,
    dtype: Annotated[str, typer.Option(help="Type of merged weights; auto is the base's own.")] = "auto",
    outtype: Annotated[str, typer.Option(help="Type of numbers in GGUF: f16, bf16, q8_0, auto.")] = "auto",
) -> None:
    """Give a checkpoint away: to the hub, merged with its base, or as GGUF files."""
    registry = context.obj if isinstance(context.obj, Registry) else load_plugins()
    if out is not None:
        if to is not None:
            raise InfimedError("--to gives a checkpoint away and --out writes the answers of a run; keep one")
        offers = registry.commands()
        registry.functions({"answers": offers["answers"]})["answers"](Path(checkpoint), out, benchmark, model)
        return
    place = _local(checkpoint)
    kind, _, name = (to or "").partition(":")
    if kind == "hub" and name.count("/") == 1 and all(name.split("/")):
        _to_hub(place, name, public, revision, base, licence)
    elif to == "merged":
        target = output or Path(f"{_short_name(place)}-merged")
        _refuse_full(target)
        _merged(registry, place, target, base, dtype, licence)
        typer.echo(f"{target}: a whole model")
    elif to == "gguf":
        _to_gguf(registry, place, output or Path(f"{_short_name(place)}-gguf"), base, dtype, outtype)
    else:
        raise InfimedError(f"--to {to or 'is missing'}: write hub:OWNER/NAME, merged or gguf")


def card(
    checkpoint: CheckpointArgument,
    to: Annotated[Path | None, typer.Option(help="File to write, such as README.md; printed by default.")] = None,
    base: BaseOption = None,
    licence: LicenceOption = None,
) -> None:
    """Print the model card of a checkpoint: data, funnel, stages, settings, results with intervals, licences."""
    from infimed_core import write_atomically

    place = _local(checkpoint)
    path = Path(place.name)
    text = card_of(place.run, place.stage or path.name, None, base, licence, is_adapter(path))
    if to is None:
        typer.echo(printable(text), nl=False)
    else:
        write_atomically(to, text)
        typer.echo(f"{to}: written")


def _local(checkpoint: str) -> Place:
    place = find_place(checkpoint)
    if not Path(place.name).is_dir():
        raise InfimedError(f"{checkpoint}: no such directory; name a checkpoint, RUN or RUN/STAGE of this machine")
    return place


def _short_name(place: Place) -> str:
    return f"{place.run.name}-{place.stage}" if place.run is not None else Path(place.name).name


def _refuse_full(target: Path) -> None:
    if target.exists() and any(target.iterdir()):
        raise InfimedError(f"{target}: is there already and not empty; name another directory with --output")


def _to_hub(place: Place, name: str, public: bool, revision: str | None, base: str | None, licence: str | None) -> None:
    from infimed_plugins.checkpoints.hub import upload

    with tempfile.TemporaryDirectory(dir=Path(place.name).parent, prefix=".export-") as folder:
        stage_files(place, Path(folder), name, base, licence)
        address = upload(Path(folder), name, not public, revision, lambda text: typer.echo(text, err=True))
    typer.echo(f"{'public' if public else 'private'}: {address}")


def _merged(registry: Registry, place: Place, target: Path, base: str | None, dtype: str, licence: str | None) -> None:
    """Write the whole model with its card."""
    merge_into(registry, place, target, base, dtype)
    hub_name = base if base is not None and base.count("/") == 1 and not Path(base).exists() else None
    text = card_of(place.run, place.stage or Path(place.name).name, target.name, hub_name, licence)
    (target / "README.md").write_text(text, encoding="utf-8")


@contextmanager
def _whole(registry: Registry, place: Place, base: str | None, dtype: str) -> Iterator[Path]:
    """The checkpoint as a whole model: itself, or an adapter merged into a folder for the time being."""
    path = Path(place.name)
    if not is_adapter(path):
        yield path
        return
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        merge_into(registry, place, Path(folder), base, dtype)
        yield Path(folder)


def _to_gguf(registry: Registry, place: Place, target: Path, base: str | None, dtype: str, outtype: str) -> None:
    from infimed_plugins.checkpoints.gguf import convert, find_converter

    converter = find_converter()
    _refuse_full(target)
    with _whole(registry, place, base, dtype) as path:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        for file in convert(converter, path, target, outtype, "vision_config" in config):
            typer.echo(f"{file}: {file.stat().st_size / 1e6:,.1f} MB")
