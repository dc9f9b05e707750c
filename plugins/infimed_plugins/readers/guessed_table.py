"""A table by its look: which column holds the question, the answer, the image, the id and the patient."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from infimed_core import is_person_tag
from infimed_plugins.readers.encodings import encoding_of
from infimed_plugins.readers.found_images import Images
from infimed_plugins.readers.image_names import columns_of_images
from infimed_plugins.readers.options import LETTERS, OPTIONS, columns_of_options
from infimed_plugins.readers.parquet import parquet_rows
from infimed_plugins.readers.tables import header_of, table_rows
from infimed_plugins.readers.texts import beginning, opened
from infimed_plugins.readers.values import is_empty

LOOKED_AT = 400
"""Rows of each kind of file that are looked at."""
MOST_ROWS = 200_000
"""Rows of tables whose images are looked for."""
QUESTIONS = (
    "question", "query", "prompt", "instruction", "frage", "pregunta", "pergunta", "domanda", "vraag", "вопрос", "问题",
    "問題", "質問", "질문",
)  # fmt: skip
ANSWERS = (
    "answer", "antwort", "respuesta", "resposta", "réponse", "reponse", "risposta", "antwoord", "ответ", "答案", "回答",
    "답변", "caption", "report", "findings", "finding", "impression", "befund", "informe", "laudo", "referto", "所見",
    "报告", "response", "output", "description", "text", "diagnosis", "label",
)  # fmt: skip
IDS = ("id", "uid", "sample_id", "question_id", "qid", "image_id", "study_id")
TAGS = {
    "modality": "modality", "body_part": "body_part", "bodypart": "body_part", "organ": "body_part", "sex": "sex",
    "gender": "sex", "view": "view", "view_position": "view",
    "projection": "view", "language": "language", "lang": "language", "split": "split",
    **dict.fromkeys(("modalität", "modalitaet", "modalité", "modalidad", "modalità", "modalidade"), "modality"),
}  # fmt: skip
_NAME = re.compile(
    r"[0-9]+(?:\.[0-9]+){3,}|\S*[/\\]\S*[0-9]\S*|[0-9a-f]{8,}(?:-[0-9a-f]+)+|(?=\S{6,})(?=\S*[0-9]{3})[\w.-]+",
    re.IGNORECASE,
)
"""A UID, a path, what a program made for a name, or digits with letters; no spaces in it."""
_IMAGES = re.compile(r"image|img|film|dicom|sop|file|path|bild|scan|picture|photo|foto|slide|x_?ray|radiogra|cliché")
_NO_IMAGE = re.compile(r"study|series|patient|class|profile|pathol")
_PERSONS = ("patient", "subject", "person", "participant", "mrn", "pid")
"""What names of a person hold; the other names of ``is_person_tag`` are of a study."""


def alike(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Tables that have the same columns and can be read in one encoding, each set of them."""
    groups: dict[tuple[str, ...], dict[str, list[Path]]] = {}
    for file in files:
        try:
            name = encoding_of([file]).name
            names = tuple(header_of(file, None, name))
        except Exception:  # no table
            continue
        groups.setdefault(names, {}).setdefault(name or ("" if _is_plain(file) else "utf-8"), []).append(file)
    for group in groups.values():
        plain = group.pop("", [])  # ASCII is read alike in all of them
        for own in list(group.values()) or [[]]:
            yield sorted([*own, *plain])
            plain = []


@dataclass(frozen=True)
class Look:
    """What a look at a table found: the settings of its reader, and what they leave out."""

    settings: dict[str, Any]
    unused: tuple[str, ...] = ()
    """Columns that the settings do not name."""
    unfound: tuple[str, str] | None = None
    """A column whose cells name images of which none was found, and the first such cell."""
    doubt: str = ""
    """What is unsure of the encoding."""
    is_named: bool = True
    """Whether the answer's column says so by its name; else it is the one with the longest texts."""
    has_images: bool = False


def look_at(folder: Path, files: list[Path], images: Images, tag: str | None = None) -> Look:
    """The settings of a table's reader, and what they leave out.

    Columns are known by their names and by what stands in them; those of a patient or study, and ``tag``, become tags.
    """
    form, doubt = form_of(files, images)
    names, rows = _named_rows(files[0], form)
    lower = {name.strip().lower().replace(" ", "_"): name for name in names}
    columns: dict[str, Any] = {}
    image = images.column(rows, names)
    found = images.found(image, _all_rows(files, form) if files[0].suffix != ".parquet" else rows) if image else None
    named = (columns_of_images(rows) | _called_images(rows, names)) if found is None else {}
    persons = persons_of(rows, names, tag)
    if found is not None:
        columns["image"] = found.column
    if (own := next((lower[name] for name in IDS if name in lower), None)) and own != image and _is_unique(rows, own):
        columns["id"] = own
    question = next((lower[name] for name in QUESTIONS if name in lower), None) or _asking(rows, names)
    if question not in (None, "question"):
        columns["question"] = question
    tags = {TAGS[name]: lower[name] for name in lower if name in TAGS}
    options = _options(rows, names) if question is not None else []
    taken = {question, *columns.values(), *persons, *named, *options}
    free = [name for name in names if name not in taken and not _holds_names(rows, name)]
    by_name = next((lower[name] for name in ANSWERS if lower.get(name) in free), None)
    others = [name for name in free if name not in tags.values()]
    answer = by_name or (_choosing(rows, others, options, len(options)) if options else _longest(rows, others))
    if answer not in (None, "answer"):
        columns["answer"] = answer
    taken.add(answer)
    if options and answer is not None:
        columns["options"] = options if len(options) > 1 else options[0]
    tags = {tag: name for tag, name in tags.items() if name not in taken}
    tags |= {tag_of(name): name for name in persons if name not in columns.values()}
    used = {question, answer, *options, *tags.values()}
    used |= {name for place, name in columns.items() if place != "options"}
    if tags:
        columns["tags"] = tags
    settings: dict[str, Any] = {"path": pattern_of(folder, files), **form}
    settings |= found.settings(files[0].parent) if found else {}
    settings |= {"columns": columns} if columns else {}
    return Look(
        settings,
        unused=tuple(name for name in names if name not in used),
        unfound=next(iter(named.items()), None),
        doubt=doubt,
        is_named=by_name is not None,
        has_images=found is not None,
    )


def form_of(files: Sequence[Path], images: Images) -> tuple[dict[str, Any], str]:
    """How tables are written, as settings of their reader: encoding, delimiter, names; and what is unsure of it."""
    if files[0].suffix == ".parquet":
        return {}, ""
    encoding = encoding_of(files)
    form: dict[str, Any] = {"encoding": encoding.name} if encoding.name else {}
    if files[0].suffix.lower() == ".txt":
        form["delimiter"] = delimiter_of(files[0], encoding.name)
    first = header_of(files[0], form.get("delimiter"), encoding.name)
    if any(map(images.names_one, first)):  # the first line is a row
        form["names"] = [f"column {number}" for number in range(1, len(first) + 1)]
    return form, encoding.doubt


def delimiter_of(file: Path, encoding: str | None) -> str | None:
    """What stands between the cells of a text of which every line has as many; ``None`` of one that is no table."""
    with opened(file, encoding) as text:
        lines = [line.rstrip("\r\n") for line in islice(text, LOOKED_AT) if line.strip()]
    for delimiter in "\t|;,":
        counts = Counter(line.count(delimiter) for line in lines)
        count, number = counts.most_common(1)[0] if counts else (0, 0)
        if count and number >= 2 and number >= 0.9 * len(lines):
            return delimiter
    return None


def _named_rows(file: Path, form: Mapping[str, Any]) -> tuple[list[str], list[Mapping[str, Any]]]:
    """The columns of a table and its first rows; of Parquet what is text or a number."""
    if file.suffix == ".parquet":
        found = [row for _, row in islice(parquet_rows(file), LOOKED_AT) if isinstance(row, Mapping)]
        texts = [{name: cell for name, cell in row.items() if isinstance(cell, (str, int))} for row in found]
        return list(dict.fromkeys(name for row in texts for name in row)), texts  # type: ignore[return-value]
    names = form.get("names") or header_of(file, form.get("delimiter"), form.get("encoding"))
    return names, list(islice(_all_rows([file], form), LOOKED_AT))


def _all_rows(files: Sequence[Path], form: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The rows of tables, as far as images are looked for."""
    settings = (form.get("delimiter"), form.get("encoding"), form.get("names", ()))
    rows = (row for file in files for _, row in table_rows(file, *settings) if isinstance(row, Mapping))
    there = ({name: cell for name, cell in row.items() if not isinstance(cell, Exception)} for row in rows)
    return islice(there, MOST_ROWS)


def _called_images(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, str]:
    """From each column that is called so and holds names to the first of them."""
    found = [name for name in names if _IMAGES.search(name.lower()) and _holds_names(rows, name)]
    found = [name for name in found if not _NO_IMAGE.search(name.lower())]
    return {name: next(str(row[name]) for row in rows if not is_empty(row.get(name))) for name in found}


def _holds_names(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether most cells of a column are names of something, as UIDs, paths and numbers of files are."""
    cells = [str(row.get(name)).strip() for row in rows if not is_empty(row.get(name))]
    return 2 * sum(bool(_NAME.fullmatch(cell)) for cell in cells) > len(cells)


def _is_plain(file: Path) -> bool:
    return beginning(file, 4_000_000).isascii()


def persons_of(rows: Sequence[Mapping[str, Any]], names: Sequence[str], tag: str | None = None) -> list[str]:
    """The columns of a patient, subject or study that say anything: ``tag`` first, then those of a person."""
    wanted = tag_of(tag) if tag else None
    filled = [name for name in names if tag_of(name) == wanted or is_person_tag(name)]
    filled = [name for name in filled if any(not is_empty(row.get(name)) for row in rows)]
    return sorted(filled, key=lambda name: (name != tag, tag_of(name) != wanted, rank_of(name)))


def rank_of(name: str) -> int:
    """0 of a name that says a person, 1 of one that says a study."""
    return int(not any(word in name.lower() for word in _PERSONS))


def tag_of(column: str) -> str:
    """The name of the tag that a column becomes."""
    return column.strip().lower().replace(" ", "_")


def shared_column(one: Path, other: Path) -> str | None:
    """A column of two tables that holds the same values in both, as a key does."""
    tables = []
    for file in (one, other):
        form, _ = form_of([file], Images(()))
        names, rows = _named_rows(file, form)
        tables.append({name: {str(row.get(name)) for row in rows if not is_empty(row.get(name))} for name in names})
    for name, values in tables[0].items():
        others = tables[1].get(name, set())
        if len(values) > 1 and 2 * len(values & others) > min(len(values), len(others)):
            return name
    return None


def pattern_of(folder: Path, files: Sequence[Path]) -> str:
    """The path or pattern that names the files."""
    if len(files) == 1:
        return str(files[0])
    ending = "".join(files[0].suffixes[-2:] if files[0].suffix == ".gz" else [files[0].suffix])
    deep = any(file.parent != folder for file in files)
    return str(folder / "**" / f"*{ending}") if deep else str(folder / f"*{ending}")


def _is_unique(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    values = [row.get(name) for row in rows if not is_empty(row.get(name))]
    return len(set(values)) == len(values) == len(rows)


def _options(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """The columns of options: one of lists, or one for each; of those named by a letter alone, where letters answer."""
    lower = {name.strip().lower(): name for name in names}
    if (single := next((lower[name] for name in OPTIONS if name in lower), None)) is not None:
        return [single] if any(not is_empty(row.get(single)) for row in rows) else []
    for found in columns_of_options(lower.keys()):
        options = [lower[name] for name in found]
        if "a" not in found or _choosing(rows, [name for name in names if name not in options], [], len(options)):
            return options
    return []


def _choosing(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], options: Sequence[str], num_options: int
) -> str | None:
    """The column most of whose cells are the letter or the text of an option of their row; of several the likeliest.

    One column of options may hold lists of any length: then every letter may be one of them.
    """
    letters = LETTERS[:num_options] if num_options > 1 else LETTERS
    found: dict[str, float] = {}
    for name in names:
        cells = [(row, str(row.get(name)).strip()) for row in rows if not is_empty(row.get(name))]
        chosen = [
            (len(cell) == 1 and cell.upper() in letters)
            or any(str(row.get(option)).strip() == cell for option in options)
            for row, cell in cells
        ]
        if 2 * sum(chosen) > len(cells):
            found[name] = sum(chosen) / len(cells)
    return max(found, key=lambda name: found[name], default=None)


def _asking(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str | None:
    """The column most of whose cells end with a question mark."""
    for name in names:
        cells = [str(row.get(name)).strip() for row in rows if not is_empty(row.get(name))]
        if 2 * sum(cell.endswith(("?", "？", "؟")) for cell in cells) > len(cells):
            return name
    return None


def _longest(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str | None:
    """The column that holds the longest texts."""
    lengths = {name: sum(len(str(row.get(name) or "")) for row in rows) for name in names}
    return max(lengths, key=lambda name: lengths[name], default=None)
