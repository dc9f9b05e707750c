"""``infimed deidentify SOURCE --to DIRECTORY``: a clean copy of files or samples, and a report of every change."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from infimed_core import DataError, Fault, InfimedError, Sample, read_named


def deidentify_command(
    source: Annotated[Path, typer.Argument(help="A directory of DICOM, NIfTI or picture files, or a reader's file.")],
    to: Annotated[Path, typer.Option("--to", help="A new directory for the clean copy.")],
    reader: Annotated[
        str | None, typer.Option(help="Read SOURCE with this reader (jsonl, llava, parquet ...), to a jsonl copy.")
    ] = None,
    settings: Annotated[str, typer.Option(help="More settings of the reader, as JSON.")] = "{}",
    dates: Annotated[
        str, typer.Option(help="DICOM dates: remove, or shift by a number of days of each patient.")
    ] = "remove",
    descriptions: Annotated[str, typer.Option(help="DICOM prose: remove, or clean of what is recognised.")] = "remove",
    keep_characteristics: Annotated[bool, typer.Option(help="Keep sex, age (up to 90), size and weight.")] = False,
    key_file: Annotated[
        Path | None, typer.Option(help="Secret that makes pseudonyms the same in every copy; by default a random one.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="Write here which original became which copy; keep it apart, it identifies.")
    ] = None,
    read_pixels: Annotated[
        bool, typer.Option("--read-pixels/--no-read-pixels", help="Read pixels by OCR and cover text in them.")
    ] = True,
) -> None:
    """Write a copy of SOURCE without identity: DICOM by the Basic Confidentiality Profile, text, EXIF, burned-in text.

    The originals are never changed. Exit code 1: a scan of the copy still finds something, or a file was withheld.
    """
    from infimed_plugins.quality.privacy.report import markdown

    for name, value, allowed in (
        ("dates", dates, ("remove", "shift")),
        ("descriptions", descriptions, ("remove", "clean")),
    ):
        if value not in allowed:
            raise InfimedError(f"--{name} {value}: write {' or '.join(allowed)}")
    body = deidentify(
        source, to, reader=reader, reader_settings=_json(settings), dates=dates, descriptions=descriptions,
        keep_characteristics=keep_characteristics, key=_key(key_file), mapping=mapping, read_pixels=read_pixels,
    )  # fmt: skip
    typer.echo(markdown(body))
    typer.echo(f"{to / 'deidentification.md'}, {to / 'deidentification.json'}")
    if body["found_in_the_copy"] or body["withheld"]:
        raise typer.Exit(1)


def deidentify(
    source: Path,
    target: Path,
    *,
    key: bytes,
    reader: str | None = None,
    reader_settings: dict[str, Any] | None = None,
    dates: str = "remove",
    descriptions: str = "remove",
    keep_characteristics: bool = False,
    mapping: Path | None = None,
    read_pixels: bool = True,
) -> dict[str, Any]:
    """As the command; returns the report.

    Raises:
        InfimedError: no such source, a target that is not empty or lies in the source, an unknown reader.
    """
    # What recognises identity is a hundred patterns, half a second to compile: only who copies waits for them.
    from infimed_plugins.quality.installed import media_loader
    from infimed_plugins.quality.privacy.copying import Copier, Tally, check_target
    from infimed_plugins.quality.privacy.dicom import DicomCleaner
    from infimed_plugins.quality.privacy.pixels import INSTALL, PixelReader, can_read_pixels
    from infimed_plugins.quality.privacy.pseudonyms import Pseudonyms
    from infimed_plugins.quality.privacy.report import markdown, report

    if not source.exists():
        raise InfimedError(f"{source}: no such file or directory")
    check_target(source, target)
    if mapping is not None and (mapping.exists() or mapping.resolve().is_relative_to(target.resolve())):
        raise InfimedError(f"{mapping}: give a new file outside the copy; it identifies")
    if reader is None and source.is_file() and source.name.endswith((".jsonl", ".jsonl.gz")):
        reader = "jsonl"
    if reader is None and source.is_file():
        raise InfimedError(
            f"{source}: a file; name the reader (--reader jsonl, llava, parquet ...) or give its directory"
        )
    can_read = read_pixels and can_read_pixels()
    cleaner = DicomCleaner(
        Pseudonyms(key), dates, descriptions, keep_characteristics, PixelReader() if can_read else None
    )
    copier, tally = Copier(cleaner, media_loader(), target), Tally()
    if reader is None:
        copier.files(source, tally)
    else:
        copier.samples(_rows(reader, source, reader_settings or {}), tally)
    copier.verify(tally)
    told = {
        "reader": reader or "files", "dates": dates, "descriptions": descriptions,
        "keep_characteristics": keep_characteristics, "read_pixels": can_read,
    }  # fmt: skip
    body = report(tally, told, read_pixels)
    target.mkdir(parents=True, exist_ok=True)
    (target / "deidentification.json").write_text(json.dumps(body, indent=1, ensure_ascii=False), encoding="utf-8")
    (target / "deidentification.md").write_text(markdown(body), encoding="utf-8")
    if mapping is not None:
        mapping.write_text(json.dumps(tally.originals, indent=1, ensure_ascii=False), encoding="utf-8")
    if read_pixels and not can_read:
        typer.echo(f"pixels are not looked at: no OCR is installed; {INSTALL}", err=True)
    return body


def _rows(name: str, source: Path, settings: dict[str, Any]) -> Iterable[Sample | Fault]:
    from infimed_plugins.quality.installed import component

    kind = component("reader", name)
    try:
        # A reader around another one has no path of its own: its settings name it.
        own = {"path": str(source)} if "path" in kind.model_fields else {}
        made: Any = kind(**own, **settings)
    except DataError as error:
        raise InfimedError(str(error)) from None
    except ValueError as error:
        raise InfimedError(
            f"reader '{name}': {str(error).splitlines()[0]}; see: infimed schema reader:{name}"
        ) from None
    for shard in made.shards():
        yield from made.read(shard)


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InfimedError(f"--settings: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise InfimedError("--settings: write a JSON object")
    return value


def _key(file: Path | None) -> bytes:
    if file is None:
        return secrets.token_bytes(32)
    try:
        key = read_named(file).strip()
    except OSError as error:
        raise InfimedError(f"{file}: cannot be read ({error.strerror})") from None
    if len(key) < 16:
        raise InfimedError(f"{file}: {len(key)} bytes are too few for a key; write 16 or more random ones")
    return key
