"""A clean copy: every file or row of a source without identity, or withheld with a reason; the source stays."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infimed_core import DataError, Fault, InfimedError, Media, MediaLoader, Sample, Turn
from infimed_plugins.quality.identity import redact
from infimed_plugins.quality.identity import tag as tag_of
from infimed_plugins.quality.identity_keys import entries_of, identity_of, in_name, without_old_age
from infimed_plugins.quality.privacy.containers import Changes
from infimed_plugins.quality.privacy.copied_media import CopiedMedia, kind_of, read_plain
from infimed_plugins.quality.privacy.dicom import DicomCleaner
from infimed_plugins.quality.privacy.pseudonyms import is_uid
from infimed_plugins.quality.privacy.scanning import Findings, scan_media, scan_texts, texts_of
from infimed_plugins.quality.privacy.tables import TABLES, cells_of, clean_table
from infimed_plugins.quality.privacy.traces import left_in, traces_in_text
from infimed_plugins.quality.reasons import UNCHECKED, Reason

STUDY_TAGS = frozenset(
    {"study", "patient", "subject", "series", "accession", "case", "image", "source_file", "split_id"}
)
"""Tags whose values say that samples belong together: they get a pseudonym, equal for equal values."""

_FILE = re.compile(r"^\S+\.[A-Za-z0-9]{2,7}$")


@dataclass
class Tally:
    """What happened. ``num_in == num_written + sum(withheld.values()) + sum(left_out.values())``."""

    num_in: int = 0
    num_written: int = 0
    withheld: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    changes: Changes = field(default_factory=Counter)
    items: list[dict[str, Any]] = field(default_factory=list)
    found: Findings = field(default_factory=Counter)
    unchecked: Findings = field(default_factory=Counter)
    originals: dict[str, str] = field(default_factory=dict)

    def note(self, name: str, changes: Changes) -> None:
        """Take down what was changed in one file or row."""
        self.changes += changes
        listed = [
            {"place": place, "action": action, "count": count} for (place, action), count in sorted(changes.items())
        ]
        self.items.append({"item": name, "changes": listed})

    def saw(self, findings: Findings) -> None:
        """Take down what a scan of the copy found, or could not look at."""
        for key, count in findings.items():
            (self.unchecked if key[1] in {reason.value for reason in UNCHECKED} else self.found)[key] += count


@dataclass
class Copier:
    """Writes clean copies below ``target``, which must be new or empty, and looks at each once more."""

    cleaner: DicomCleaner
    loader: MediaLoader
    target: Path
    _media: CopiedMedia = field(init=False)
    _texts: set[str] = field(default_factory=set)
    """What was found in texts and names, and must stand in no text of the copy."""

    def __post_init__(self) -> None:
        self._media = CopiedMedia(self.cleaner, self.target)

    def files(self, source: Path, tally: Tally) -> None:
        """Copy every DICOM, NIfTI and picture file below ``source``, under a name that tells nothing."""
        root = source.resolve()
        copies: dict[str, str] = {}
        tables: list[tuple[Path, bytes]] = []
        for path in sorted(path for path in source.rglob("*") if not path.is_dir()):
            tally.num_in += 1
            if not path.resolve().is_relative_to(root):
                tally.left_out["a link that leads out of the source"] += 1
                continue
            try:
                data = read_plain(path)
            except DataError as error:
                tally.left_out["no plain file" if error.code == "unreadable" else "cannot be read"] += 1
                continue
            kind = kind_of(data, path.name)
            if kind is None and path.suffix.lower() in TABLES:
                tables.append((path, data))
                continue
            if kind is None:
                tally.left_out["neither DICOM, NIfTI nor a picture"] += 1
                continue
            name = f"file {tally.num_in}"
            try:
                media, changes = self._media.copy(Media(kind=kind, data=data))
            except DataError as error:
                tally.withheld[error.code] += 1
                tally.items.append({"item": name, "withheld": error.code, "why": str(error)})
                tally.originals[name] = str(path.relative_to(source))
                continue
            tally.num_written += 1
            name = str(media.uri)
            tally.note(name, changes)
            original = path.relative_to(source)
            tally.originals.setdefault(name, str(original))
            copies |= {original.as_posix(): name, path.name: name, path.stem: name}
        for number, (path, data) in enumerate(tables, start=1):
            self._table(path, data, f"table-{number:04d}{path.suffix.lower()}", copies, tally)
            tally.originals[f"table-{number:04d}{path.suffix.lower()}"] = str(path.relative_to(source))

    def _table(self, path: Path, data: bytes, name: str, copies: dict[str, str], tally: Tally) -> None:
        """The copy of a table beside the files, after all of them: it names their copies."""
        try:
            cleaned, changes = clean_table(data, TABLES[path.suffix.lower()], copies, self.cleaner.pseudonyms)
        except DataError as error:
            tally.withheld[error.code] += 1
            tally.items.append({"item": name, "withheld": error.code, "why": str(error)})
            return
        self.target.mkdir(parents=True, exist_ok=True)
        (self.target / name).write_bytes(cleaned)
        tally.num_written += 1
        tally.note(name, changes)
        self._texts |= set(traces_in_text(data.decode("utf-8", "replace")))
        self._texts |= {original for original in copies if in_name(original)}

    def samples(self, rows: Iterable[Sample | Fault], tally: Tally) -> None:
        """Copy samples to ``samples.jsonl`` and their media beside it; a withheld medium withholds its sample."""
        self.target.mkdir(parents=True, exist_ok=True)
        with (self.target / "samples.jsonl").open("w", encoding="utf-8") as lines:
            for row in rows:
                tally.num_in += 1
                name = f"s{tally.num_in:08d}"
                if isinstance(row, Fault):
                    tally.left_out[f"no sample: {row.code}"] += 1
                    continue
                tally.originals[name] = row.id
                try:
                    sample, changes = self._sample(row, name)
                except DataError as error:
                    tally.withheld[error.code] += 1
                    tally.items.append({"item": name, "withheld": error.code})
                    continue
                lines.write(sample.model_dump_json(exclude_defaults=True) + "\n")
                tally.num_written += 1
                tally.note(name, changes)

    def _sample(self, sample: Sample, name: str) -> tuple[Sample, Changes]:
        changes: Changes = Counter()
        media = []
        places: dict[str, str] = {}
        for item in sample.media:
            copy, made = self._media.copy(item)
            media.append(copy)
            places |= _places(item, copy)
            changes += made

        olds = {
            old: new
            for old, new in ((sample.id, name), *self._owned(sample))
            if len(old) >= 5 and any(sign.isdigit() for sign in old)
        }

        def clean(text: str, place: str) -> str:
            if text in places:  # where the original of a medium lay
                changes[place, "given a pseudonym"] += 1
                return places[text]
            if is_uid(text):
                changes[place, "given another UID"] += 1
                return self.cleaner.pseudonyms.uid(text)
            for old, new in olds.items():  # the old id must not stand beside the new one
                if old in text:
                    changes[place, "given a pseudonym"] += 1
                    text = text.replace(old, new)
            if _FILE.search(text) and in_name(text):
                changes[place, "given a pseudonym"] += 1
                return self.cleaner.pseudonyms.name("file", text)
            redacted = redact(text)
            if redacted.counts:
                self._texts.update(traces_in_text(text))
            for reason, count in redacted.counts.items():
                changes[place, f"{reason.value} replaced"] += count
            return redacted.text

        def deep(value: Any, key: str = "", place: str = "meta") -> Any:
            owned = identity_of(key, value)
            if owned is not None and not (isinstance(value, str) and is_uid(value)):
                changes[place, "90 in place of an age above" if owned is Reason.PHI_AGE else "given a pseudonym"] += 1
                stand_in = self._stand_in(key, str(value), owned)
                return type(value)(stand_in) if isinstance(value, int | float) and owned is Reason.PHI_AGE else stand_in
            if isinstance(value, str):
                return clean(value, place)
            if isinstance(value, int) and len(str(value)) == 8:  # a date that is written as a number
                cleaned = clean(str(value), place)
                return value if cleaned == str(value) else cleaned
            if isinstance(value, dict):
                return {clean(inner_key, place): deep(inner, inner_key, place) for inner_key, inner in value.items()}
            return [deep(inner, key, place) for inner in value] if isinstance(value, list | tuple) else value

        def cleaned(turn: Turn) -> Turn:
            said = {
                "content": tuple(clean(part, "turns") if isinstance(part, str) else part for part in turn.content),
                "tool_calls": tuple(
                    call.model_copy(update={"arguments": deep(call.arguments, place="turns")})
                    for call in turn.tool_calls
                ),
                "regions": tuple(
                    region.model_copy(update={"name": clean(region.name, "turns") if region.name else region.name})
                    for region in turn.regions
                ),
            }
            return turn.model_copy(update=said)

        tags = {
            clean(tag, "tags"): self.cleaner.pseudonyms.name(tag, value)
            if tag.lower() in STUDY_TAGS
            else deep(value, tag, "tags")
            for tag, value in sample.tags.items()
        }
        changes["id", "replaced"] += 1
        renamed = sum(tag.lower() in STUDY_TAGS for tag in tags)
        if renamed:
            changes["tags", "given a pseudonym"] += renamed
        return (
            sample.model_copy(
                update={
                    "id": name,
                    "turns": tuple(map(cleaned, sample.turns)),
                    "tools": tuple(deep(tool, place="tools") for tool in sample.tools),
                    "media": tuple(media),
                    "references": tuple(clean(text, "references") for text in sample.references),
                    "options": tuple(clean(text, "options") for text in sample.options),
                    "tags": tags,
                    "meta": deep(dict(sample.meta)),
                }
            ),
            changes,
        )

    def _owned(self, sample: Sample) -> Iterator[tuple[str, str]]:
        """(original, stand-in) of every tag and entry of meta whose key says that it identifies."""
        for key, value in (*sample.tags.items(), *entries_of(dict(sample.meta))):
            owned = identity_of(key, value)
            if owned is not None and not is_uid(str(value)):
                yield str(value), self._stand_in(key, str(value), owned)

    def _stand_in(self, key: str, value: str, owned: Reason) -> str:
        """A pseudonym for a name or number, equal for equal values; 90 for an age; a tag where no one joins by it."""
        if owned is Reason.PHI_AGE:
            return without_old_age(value)
        joined = owned in (Reason.PHI_NAME, Reason.PHI_RECORD_NUMBER)
        return self.cleaner.pseudonyms.name(redact(key).text, value) if joined else tag_of(owned)

    def verify(self, tally: Tally) -> None:
        """Look for identity in everything that was written, as it lies on disk."""
        for media in self._media.files():
            tally.saw(scan_media(media, self.loader, self.cleaner.reader))
        texts = frozenset(self._texts)
        for path in sorted(path for path in self.target.rglob("*") if path.is_file()):
            name = path.relative_to(self.target).as_posix()
            for at in left_in(path.read_bytes(), self._media.traces.get(name, texts)):
                tally.found["bytes", "value_left"] += 1
                tally.items.append({"item": name, "found": f"a value of the source, at byte {at}"})
        for path in sorted(self.target.glob("table-*")):
            tally.saw(scan_texts(cells_of(path.read_text(encoding="utf-8"), TABLES[path.suffix])))
        rows = self.target / "samples.jsonl"
        if rows.exists():
            with rows.open(encoding="utf-8") as lines:
                for line in lines:
                    tally.saw(scan_texts(texts_of(Sample.model_validate(json.loads(line)))))


def _places(original: Media, copy: Media) -> dict[str, str]:
    """Where the original of a medium lay, the folder of a slice included, to the place of its copy."""
    if original.uri is None or copy.uri is None:
        return {}
    parts = original.options.get("parts") if original.kind == "montage" else None
    inner = (
        [part["uri"] for part in parts if isinstance(part, dict) and "uri" in part] if isinstance(parts, list) else []
    )
    found = {str(uri): str(copy.uri) for uri in (original.uri, *inner)}
    return {str(Path(uri).parent): str(Path(copy.uri).parent) for uri in found} | found


def check_target(source: Path, target: Path) -> None:
    """Refuse a target that holds something, or lies in the source, or the source in it.

    Raises:
        InfimedError: with the remedy.
    """
    here, there = source.resolve(), target.resolve()
    if here == there or there.is_relative_to(here) or here.is_relative_to(there):
        raise InfimedError(f"{target}: lies within the source {source}, or around it; give a directory elsewhere")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InfimedError(f"{target}: is there already and not empty; give a new directory")
