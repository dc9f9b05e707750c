"""Words as concepts: what means the same, from the values of a kind and from WordNet and the Human Phenotype
Ontology."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib.resources import files

from infimed_plugins.medevalkit.answers.values import KINDS, NUMBERS, WITHIN
from infimed_plugins.medevalkit.answers.words import word_set

Words = tuple[str, ...]

_TOKEN = re.compile(
    r"[\u3400-\u9fff]|-?\d+(?:[.,]\d+)*(?:e[+-]?\d+)?(?:st|nd|rd|th)?\b|[^\W\d_\u3400-\u9fff][^\W_\u3400-\u9fff]*|"
    r"[<>≤≥±%]"
)
_BARE_POINT = re.compile(r"(?<![\w.])\.(?=\d)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_KEPT = word_set(
    "is was has this his as yes us its plus does was bus lens pus gas pancreas status pelvis uterus diabetes mass"
)
_FOLDED = {
    "tumour": "tumor",
    "oedema": "edema",
    "haemorrhage": "hemorrhage",
    "anaemia": "anemia",
    "oesophagus": "esophagus",
    "leukaemia": "leukemia",
    "haematoma": "hematoma",
    "ischaemia": "ischemia",
    "colour": "color",
    "centre": "center",
    "grey": "gray",
    "fibre": "fiber",
    "foetus": "fetus",
    "paediatric": "pediatric",
    "calcium": "calcium",
    "lungs": "lung",
    "areas": "area",
    "vertebrae": "vertebra",
    "metastases": "metastasis",
    "ischaemic": "ischemic",
    "haemorrhagic": "hemorrhagic",
    "tumoral": "tumor",
    "diagnoses": "diagnosis",
}


@lru_cache(maxsize=65536)
def base_form(word: str) -> str:
    """A word in one spelling and in the singular."""
    word = _FOLDED.get(word, word)
    if len(word) > 5 and word.endswith(("oses", "yses")) and not word.endswith(("doses", "poses", "noses")):
        return word[:-2] + "is"  # mitoses, stenoses, lyses
    plural = not word.endswith(("ss", "us", "is")) and (len(word) > 6 or not word.endswith("as"))
    if len(word) > 3 and word.endswith("s") and word not in _KEPT and plural:
        word = (
            word[:-3] + "y"
            if word.endswith("ies") and len(word) > 5
            else word[:-2]
            if word.endswith(("sses", "xes", "ches"))
            else word[:-1]
        )
        word = _FOLDED.get(word, word)
    return word


def words_of(text: str) -> list[str]:
    """The words of a folded text in base form; hyphens and signs between them are spaces, numbers are whole."""
    low = text.lower().replace("x-ray", "x ray").replace("'s", "")
    if "." in low or "," in low:
        low = _THOUSANDS.sub("", _BARE_POINT.sub("0.", low))
    return [_word(token) for token in _TOKEN.findall(low)]


@lru_cache(maxsize=65536)
def _word(token: str) -> str:
    word = base_form(token)
    return NUMBERS.get(word, word)


@cache
def _values() -> dict[Words, list[tuple[str, str]]]:
    found: dict[Words, list[tuple[str, str]]] = {}
    for kind, values in KINDS.items():
        for value, forms in values.items():
            for form in forms.split("|"):
                found.setdefault(tuple(words_of(form)), []).append((kind, value))
    return found


@cache
def first_words() -> frozenset[str]:
    """The words with which the names of values begin."""
    return frozenset(words[0] for words in _values())


@cache
def _groups() -> tuple[dict[Words, list[int]], list[list[Words]]]:
    forms: dict[Words, list[int]] = {}
    groups: list[list[Words]] = []
    text = files("infimed_plugins.medevalkit.answers").joinpath("synonyms.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("#") or not line:
            continue
        group = list(dict.fromkeys(tuple(words_of(form)) for form in line.split("|")))
        for form in group:
            forms.setdefault(form, []).append(len(groups))
        groups.append(group)
    return forms, groups


@lru_cache(maxsize=65536)
def value_of(words: Words) -> tuple[str, str] | None:
    """Kind and value that the words stand for."""
    found = _values().get(words)
    return found[0] if found else None


@lru_cache(maxsize=65536)
def same_as(words: Words) -> tuple[Words, ...]:
    """Every form, in base-form words, that means what the words mean; themselves first."""
    found = [words]
    value = value_of(words)
    if value is not None:
        found += [tuple(words_of(form)) for form in KINDS[value[0]][value[1]].split("|")]
    forms, groups = _groups()
    for number in forms.get(words, ()):
        found += groups[number]
    if words[-1:] == ("tissue",) and len(words) > 1:  # "muscle tissue"
        found += same_as(words[:-1])
    return tuple(dict.fromkeys(form for form in found if form))


@lru_cache(maxsize=65536)
def is_known(words: Words) -> bool:
    """Whether the words together are a name that the vocabularies have."""
    return words in _values() or words in _groups()[0]


def related(kind: str, one: str, other: str) -> bool:
    """Whether two values of a kind do not contradict each other, as one lies in the other."""
    return kind == "region" and (other in WITHIN.get(one, ()) or one in WITHIN.get(other, ()))
