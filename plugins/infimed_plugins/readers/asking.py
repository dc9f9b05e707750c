"""What a run file asks: one question for rows that bring none, and the benchmark that is made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from infimed_core import InfimedError, Sample, is_person_tag, load_plugins
from infimed_plugins.readers.guessed_table import LOOKED_AT, MOST_ROWS, rank_of, tag_of
from infimed_plugins.readers.guessing import Guess, rows_of, tried_out
from infimed_plugins.readers.run_file_lines import reader_lines, relative, yaml_of
from infimed_plugins.readers.tables import table_rows

ROOM = {"tiny": 16, "real": 64}
"""Tokens of an answer beside those of the longest accepted one; a model that was trained elsewhere writes sentences."""
MOST_CHOICES = 20
"""Different answers up to which a table of findings takes one of them."""
SET = frozenset({"1", "1.0", "true"})
NOT_SET = frozenset({"0", "0.0", "-1", "-1.0", "false"})
"""Cells of a column that says of one finding whether it is there; -1 is unsure, as in CheXpert."""
LONGEST_CHOICE = 6
"""Words up to which an answer is the name of a finding; more are a caption."""


@dataclass(frozen=True)
class Wish:
    """What a run file is asked to do beside reading."""

    model: str | None = None
    score: bool = False
    train: bool = False
    images: Path | None = None
    text_only: bool = False
    split_by: str | None = None
    held_out: float = 0.25
    folder: Path = Path()
    """Where tables are written that are made of the data's."""
    force: bool = False
    question: str | None = None
    """What is asked where a row has no question."""
    title: str = ""
    """What the run's name says after that of the data."""

    @property
    def needs_data(self) -> bool:
        """Whether anything but an evaluation is asked for."""
        return self.model is None or self.score or self.train


NOTHING = Wish()
"""Reading alone."""


def with_question(one: Guess, question: str) -> Guess:
    """The guess with a question for rows that have none.

    Raises:
        InfimedError: the reader takes none: its rows bring their own.
    """
    if "question" not in load_plugins().find("reader", one.use).model_fields:
        raise InfimedError(f"--question: rows of the reader '{one.use}' bring their own questions; leave it out")
    return tried_out(replace(one, settings=one.settings | {"question": question}))


def named_findings(samples: Sequence[Sample]) -> list[str]:
    """The answers of a table in which all rows ask the same, or nothing, and few short answers come again and again."""
    answered = [sample for sample in samples if sample.turns[-1].role == "assistant"]
    asked = {tuple(turn.text for turn in sample.turns[:-1]) for sample in answered}
    found = sorted({sample.turns[-1].text.strip() for sample in answered} - {""})
    few = 1 < len(found) <= min(MOST_CHOICES, len(answered) // 2)
    plain = few and not any(sample.options or sample.references for sample in answered)
    return found if plain and len(asked) == 1 and all(len(text.split()) <= LONGEST_CHOICE for text in found) else []


def taken(best: Guess) -> str:
    """What is read as what: the columns of a table, or the names of folders; "" of rows that say it themselves."""
    if best.settings.get("folder_answers"):
        names = sorted({sample.turns[-1].text for sample in best.samples})
        return f"the answers are the names of the folders ({', '.join(names[:5])})"
    if not best.files or best.use not in ("csv", "parquet"):
        return ""
    columns = best.settings.get("columns", {})
    asks = any(turn.text.strip() for sample in best.samples for turn in sample.turns[:-1])
    usual = {"answer", *(["question"] if asks and "question" not in best.settings else [])}
    kinds = [kind for kind in ("image", "question", "answer") if kind in columns or kind in usual]
    told = ", ".join(f"{kind} '{columns.get(kind, kind)}'" for kind in kinds)
    unsure = "" if best.is_named else " (a guess: no column is called answer, finding, report or the like)"
    return f"read are {told}{unsure}"


def flags(best: Guess) -> str:
    """That columns hold a yes or no each and no name says which is the answer, and what asks about each of them."""
    columns = best.settings.get("columns", {})
    guessed = [] if best.is_named else [columns.get("answer", "answer")]
    if best.use != "csv" or not best.files:
        return ""
    form = (best.settings.get("delimiter"), best.settings.get("encoding"), best.settings.get("names", ()))
    rows = [row for _, row in islice(table_rows(best.files[0], *form), LOOKED_AT) if isinstance(row, Mapping)]
    cells = {name: {str(row.get(name) or "0").strip().lower() for row in rows} for name in [*best.unused, *guessed]}
    found = [name for name, values in cells.items() if values <= NOT_SET | SET and values & SET]
    if len(found) < 2:
        return ""
    named = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
    keys = [columns.get("image", "image"), *columns.get("tags", {}).values()]
    return (
        f"the columns {named} hold 0 and 1: to ask about each of them, make a row of each (pandas: "
        f"table.melt(id_vars={keys}, value_vars={found[:2]}, var_name='question', value_name='answer'))"
    )


def unasked(best: Guess) -> str:
    """That rows hold findings and no question, and what asks one; "" where they do not."""
    said = any(turn.text.strip() for sample in best.samples for turn in sample.turns[:-1])
    if said or not (found := named_findings(best.samples)):
        return ""
    named = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
    if all(text.lstrip("-").replace(".", "", 1).isdigit() for text in found):
        return f"the answers are codes ({named}): write what they mean into the table"
    return f'the rows hold findings ({named}) and no question; --question "What does the image show?" asks one'


def evaluation_of(asked: Guess | None, read: Sequence[Guess], current: Path, wish: Wish) -> list[str]:
    """The lines of the section ``evaluation``; ``read`` is what is trained on."""
    lines = ["evaluation:", "  benchmarks:", "    - name: own-test", "      use: questions", "      with:"]
    if asked is None:
        return [*lines, "        reader: {use: csv, with: {path: test.csv}}"]
    if (tag := _person_tag(asked.samples, wish.split_by)) is not None:
        lines.append(f"        cluster: {yaml_of(tag)}  # questions of one are counted together in the intervals")
    found = named_findings([sample for one in (asked, *read) for sample in one.samples])
    if found:  # of the first rows: the others may hold more
        every = sorted({answer for one in (asked, *read) for answer in _answers(one)} - {""})
        few = len(every) <= MOST_CHOICES and all(len(text.split()) <= LONGEST_CHOICE for text in every)
        found = every if few else []
    if found and not {text.lower().strip(".") for text in found} <= {"yes", "no"}:
        lines.append(f"        choices: {yaml_of(found)}  # all answers seen; every answer is read as one of them")
    words, tokens = longest_answer(asked.samples)
    tokens += ROOM["tiny" if wish.model in (None, "tiny") else "real"]
    longest = f"the longest answer seen has {words} word{'s' * (words != 1)}; raise it for sentences or thoughts"
    lines.append(f"        max_new_tokens: {tokens}  # {longest}")
    return [*lines, "        reader:", *reader_lines(asked.use, relative(asked.settings, current), "          ")]


def _answers(one: Guess) -> Iterator[str]:
    """The answer of every row, up to the most rows that are looked at."""
    for row in islice(rows_of(one.use, one.settings), MOST_ROWS):
        if isinstance(row, Sample) and row.turns[-1].role == "assistant":
            yield row.turns[-1].text.strip()


def _person_tag(samples: Sequence[Sample], split_by: str | None) -> str | None:
    """The tag of a patient or study that every question has."""
    wanted = tag_of(split_by) if split_by else None
    every = [tag for tag in samples[0].tags if all(tag in sample.tags for sample in samples)]
    found = [tag for tag in every if tag == wanted or is_person_tag(tag)]
    return min(found, key=lambda tag: (tag != wanted, rank_of(tag)), default=None)


def longest_answer(samples: Sequence[Sample]) -> tuple[int, int]:
    """The words of the longest accepted answer or option, and the most tokens that one of them may take."""
    texts = [text for sample in samples for text in (sample.turns[-1].text, *sample.references, *sample.options)]
    words = max(len(text.split()) for text in texts)
    return words, max(4 * len(text.split()) + 2 * sum(not letter.isascii() for letter in text) for text in texts)
