"""Text-only medical questions: from a disease category of ICD-10-CM to its chapter or its code."""

from __future__ import annotations

import functools
import random
import re
from dataclasses import dataclass

from infimed_core import DataError
from infimed_plugins.demo import sources
from infimed_plugins.demo.blocks import Split
from infimed_plugins.demo.facts import Fact
from infimed_plugins.demo.pictures import stable_hash
from infimed_plugins.demo.questions import Question, ask

FILE = "data/icd10c-tabular-April-1-2026.xml"
QUESTIONS = {
    "icd_chapter": (
        "To which chapter of ICD-10-CM does this belong: {}?", "Which ICD-10-CM chapter lists {}?",
        "Under which chapter is {} classified?",
    ),
    "icd_code": (
        "What is the ICD-10-CM category code of {}?", "Which ICD-10-CM code stands for {}?",
        "Give the code category of {}.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Category:
    """One three-character category: its code, its name and its chapter's short name."""

    code: str
    name: str
    chapter: str

    @property
    def split(self) -> Split:
        """Categories are split by their code, so that no disease of the test is in training."""
        draw = stable_hash("icd", self.code) % 20
        return "test" if draw == 0 else "validation" if draw == 1 else "train"


def _file() -> str:
    """The tabular list: its name holds the edition, so look for the newest one there is."""
    try:
        return str(sources.package_file("simple_icd_10_cm", FILE))
    except DataError:
        folder = sources.package_file("simple_icd_10_cm", "__init__.py").parent / "data"
        found = sorted(folder.glob("icd10c*tabular*.xml"))
        if not found:
            raise
        return str(found[-1])


@functools.lru_cache(maxsize=1)
def categories() -> tuple[Category, ...]:
    """Every category of the tabular list, in its order."""
    from xml.etree import ElementTree

    found = []
    for chapter in ElementTree.parse(_file()).getroot().iter("chapter"):
        title = re.sub(r"\s*\([A-Z]\d.*?\)\s*$", "", chapter.findtext("desc") or "").strip()
        for section in chapter.iter("section"):
            for category in section.findall("diag"):
                code, name = category.findtext("name"), category.findtext("desc")
                if code and name and len(code) == 3:
                    found.append(Category(code, name.strip(), title))
    return tuple(found)


@functools.lru_cache(maxsize=1)
def _chapters() -> tuple[str, ...]:
    return tuple(dict.fromkeys(category.chapter for category in categories()))


@functools.cache
def _codes(letter: str) -> tuple[str, ...]:
    """The codes that begin with a letter."""
    return tuple(category.code for category in categories() if category.code[0] == letter)


def question(category: Category, kind: str, form: str, chance: random.Random) -> Question:
    """One question about a category: ``icd_chapter`` or ``icd_code``."""
    if kind == "icd_chapter":
        fact = Fact(category.chapter, _chapters())
    else:
        near = [code for code in _codes(category.code[0]) if code != category.code]
        fact = Fact(category.code, (category.code, *chance.sample(near, min(3, len(near)))))
    phrased = chance.choice(QUESTIONS[kind]).format(category.name)
    return ask(kind, fact, form, chance, question=phrased)
