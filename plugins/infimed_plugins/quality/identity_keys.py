"""Identity by its key or in a name: tags and meta in any spelling, and names of files."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from infimed_plugins.quality.identity import identities
from infimed_plugins.quality.identity_names import is_given, is_ordinary
from infimed_plugins.quality.reasons import Reason

_NOTHING = re.compile(
    r"^\W*$|anonym|de-?identif|removed|redacted|unknown|^(?:none|n/?a|nan|null|true|false|x+|0+|patient|subject)\W*\d{0,3}$"
    r"|^\[[A-Z_]+\]$|^\d{0,2}$",
    re.I,
)
_PSEUDONYM = re.compile(r"^(?:[\w -]{1,40}-[0-9a-f]{16}|SUBJECT-\d{10}|2\.25\.\d{1,39})$")
_PSEUDONYM_WITHIN = re.compile(r"\w{1,40}-(?=\d{0,15}[a-f])[0-9a-f]{16}(?![0-9a-f])|\bSUBJECT-\d{10}\b")
_OLD = re.compile(r"(0?)(?:9[1-9]|1[0-3]\d)(?=\.\d+$|Y?$| ?(?:y|yrs?|years?)$)", re.I)
"""An age of 91 years and more; 90 stands for 90 and above."""
_PERSON = r"(?:patients?|subject|person|participant|pt|pat|case|client|member|individual)"
_OWNED: tuple[tuple[Reason, re.Pattern[str]], ...] = (
    (Reason.PHI_SOCIAL_SECURITY, re.compile(r"ssn|socialsecurity\w*")),
    (
        Reason.PHI_BIRTH_DATE,
        re.compile(rf"{_PERSON}?(?:dob|birthda(?:te|y)|dateofbirth|birth|fechanacimiento|geburtsdatum)"),
    ),
    (Reason.PHI_EMAIL, re.compile(r"\w{0,20}e?mail(?:address)?")),
    (Reason.PHI_PHONE, re.compile(r"\w{0,20}(?:tele)?phone(?:no|number)?|mobile(?:no|number)?|fax(?:no|number)?")),
    (
        Reason.PHI_ADDRESS,
        re.compile(rf"{_PERSON}?(?:home|street|postal|mailing)?address|street|zip(?:code)?|postcode|postalcode"),
    ),
    (
        Reason.PHI_AGE,
        re.compile(rf"(?:{_PERSON}|anchor|current)?s?age(?:in)?(?:years?|yrs?|y)?|ageat[a-z]{{3,20}}|edad|alter"),
    ),
    (
        Reason.PHI_NAME,
        re.compile(
            rf"{_PERSON}(?:full|first|last)?names?|(?:full|first|last|sur|family|given|maiden)names?"
            r"|(?:referring|attending|performing|reading)?(?:physician|doctor|radiologist|operator|technologist)s?(?:name)?"
            r"|hospital(?:name)?|institution(?:name)?|nombre|apellidos?|nachname|vorname"
        ),
    ),
    (
        Reason.PHI_RECORD_NUMBER,
        re.compile(
            rf"mrn|medicalrecord(?:no|number|id)?|{_PERSON}(?:id|uid|no|num|number|identifier|key)|(?:patient|subject|pid)"
            r"|(?:hospital|chart|record|accession|encounter|visit|admission|hadm|account|insurance|specimen|study|series"
            r"|studyinstance|seriesinstance|sopinstance|instance|exam|order|report)(?:id|uid|no|num|number)|accession|uid"
        ),
    ),
)
_LOOSE = frozenset({Reason.PHI_RECORD_NUMBER})
"""Keys of these kinds hold a running number of a data set as often as that of a person."""
_NAME_PART = re.compile(r"[^\W\d_]{2,30}")


def is_pseudonym(value: str) -> bool:
    """Whether a value is a stand-in that a clean copy was given."""
    return _PSEUDONYM.match(value) is not None


def without_pseudonyms(text: str) -> str:
    """A text without the stand-ins that it holds, in a path or in a sentence: their letters are no identity."""
    return _PSEUDONYM_WITHIN.sub("_", text)


def without_old_age(age: str) -> str:
    """An age in years, as a key says that it is, with 90 in place of one above."""
    return _OLD.sub(r"\g<1>90", age.strip(), count=1)


@functools.lru_cache(maxsize=1 << 12)
def kind_of_key(key: str) -> Reason | None:
    """What a key says that its value is, in any case and with any signs between its words."""
    plain = re.sub(r"[\W_]", "", key.lower()[:80])
    return next((reason for reason, pattern in _OWNED if pattern.fullmatch(plain)), None)


def identity_of(key: str, value: Any) -> Reason | None:
    """What a value under a key identifies by, unless it stands for nobody or is a pseudonym of ours.

    A number of a person, study or record counts from four digits on: ``sub-01`` is one of a data set.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value).strip()
    kind = kind_of_key(key)
    if kind is Reason.PHI_AGE:
        return kind if _OLD.match(text) else None
    if kind is None or _NOTHING.search(text) or _PSEUDONYM.match(text):
        return None
    if kind in _LOOSE and sum(sign.isdigit() for sign in text) < 4 and not in_name(text):
        return None
    return kind


_DIGEST = re.compile(
    r"(?<![0-9a-z])(?=[0-9-]*[a-f])(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"(?![0-9a-z])",
    re.I,
)
"""Names made of what a file holds (MD5, SHA-1, SHA-256) or drawn at random: their digits say nothing."""


def in_name(name: str) -> list[Reason]:
    """Identity in the name of a file or an id: dates, UIDs, numbers behind labels, and a given name beside another."""
    if (len(name) > 17 or name.startswith("2.25.")) and _PSEUDONYM.match(name):
        return []
    if len(name) > 17:  # shorter ones hold neither
        name = _DIGEST.sub("", without_pseudonyms(name))
    spaced = re.sub(r"[_+]+", " ", name[:400]) if "_" in name or "+" in name else name[:400]
    found = [reason for reason in identities(name[:400]) if reason is not Reason.PHI_AGE]
    if spaced != name:
        found += [reason for reason in identities(spaced) if reason not in (Reason.PHI_AGE, Reason.PHI_PHONE)]
    if sum(map(str.isupper, spaced)) < 2:
        return list(dict.fromkeys(found))
    words = _NAME_PART.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", spaced))
    for first, second in itertools.pairwise(words):
        written = min(len(first), len(second)) > 2 and first[0].isupper() and second[0].isupper()
        given = (is_given(first) and not is_ordinary(second)) or (is_given(second) and not is_ordinary(first))
        if written and given:
            found.append(Reason.PHI_NAME)
    return list(dict.fromkeys(found))


def entries_of(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every (key, value) of a JSON value, at any depth; a list's values have the key of the list."""
    if isinstance(value, Mapping):
        for inner_key, inner in value.items():
            yield from entries_of(inner, str(inner_key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from entries_of(inner, key)
    else:
        yield key, value


@functools.lru_cache(maxsize=1 << 12)
def in_tag(tag: str, value: str) -> tuple[Reason, ...]:
    """Identity in a tag, most of which come again and again."""
    return tuple(in_entries({tag: value}))


def in_entries(value: Any) -> list[Reason]:
    """Identity in the keys and values of tags or meta."""
    found: list[Reason] = []
    for key, inner in entries_of(value):
        found += identities(key)
        owned = identity_of(key, inner)
        if owned is not None:
            found.append(owned)
        elif isinstance(inner, int) and len(str(inner)) == 8:
            found += identities(str(inner))
        elif isinstance(inner, str):
            is_name = re.search(r"\.\w{2,5}$|_", inner) and " " not in inner
            found += in_name(inner) if is_name else identities(without_pseudonyms(inner))
    return list(dict.fromkeys(found))
