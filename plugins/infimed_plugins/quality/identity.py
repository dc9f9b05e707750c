"""Identity in text: where it stands, what kind it is, and the text without it."""

from __future__ import annotations

import bisect
import functools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from infimed_plugins.quality.identity_patterns import STRUCTURED
from infimed_plugins.quality.reasons import Reason
from infimed_plugins.quality.texts import word_list

WEAK = frozenset({Reason.PHI_NAME, Reason.PHI_DATE, Reason.PHI_AGE})
"""Identity that points at a person only together with something else."""

_TOKEN = r"[A-Z\u00c0-\u00de][\w'’.-]*"
_NAME = rf"(?:{_TOKEN}(?:,? (?:(?:van|von|de|der|la|del|bin|al|da|di) ){{0,2}}{_TOKEN}){{0,3}})"
_ROLE = (
    r"radiologist|physician|clinician|doctor|consultant|surgeon|technologist|technician|sonographer|operator|nurse"
    r"|referring(?: physician| doctor)?|attending(?: physician)?|resident|fellow|cardiologist|oncologist|pathologist"
    r"|provider|requested by|referred by|dictated by|signed(?: electronically)? by|electronically signed by|reported by"
    r"|read by|performed by|reviewed by|reviewed with|discussed with|verified by|approved by|interpreted by|ordered by"
    r"|transcribed by|seen by|cc|attn|next of kin|emergency contact|contact|guardian|mother|father|wife|husband|spouse"
    r"|son|daughter|brother|sister"
)
_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈"
    "姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤"
)
_NAMES: tuple[re.Pattern[str], ...] = (
    re.compile(
        rf"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Doctor|Sr|Sra|Herr|Frau|Mme)\b\.? (?P<name>(?:[A-Z]\. )?{_NAME})"
    ),
    re.compile(
        rf"\b(?i:patient(?:'s)?(?: full)?(?: name)?|pt(?: name)?"
        rf"|(?:full|last|first|sur|family|given|maiden|legal)[ -]?name"
        rf"|name(?: of patient)?|subject(?: name)?)\s*(?::|=|(?i:is named|named|called|name is))\s*(?P<name>{_NAME})"
    ),
    re.compile(rf"\b(?:[Pp]atient(?:'s)? [Nn]ame|[Nn]ame) (?:is )?(?P<name>{_TOKEN},? {_TOKEN})"),
    re.compile(rf"\b(?i:{_ROLE})\s*(?::|=)\s*(?:Dr\.? )?(?P<name>{_NAME})"),
    re.compile(rf"\b(?i:{_ROLE}) (?P<name>{_TOKEN} (?:[A-Z]\. )?{_TOKEN})(?=[\s,.;:)]|$)"),
    re.compile(
        rf"(?P<name>{_TOKEN}(?: [A-Z]\.)? {_TOKEN}),? (?:M\.?D|D\.?O|R\.?N|Ph\.?D|MBBS|FRCR|FRCS|DDS|PA-C|NP)\b"
    ),
    re.compile(r"\b(?P<name>[A-Za-z'-]{2,40}\^[A-Za-z'-]{1,40}(?:\^[\w. -]{0,40}){0,4})"),
    re.compile(
        r"(?:姓名|患者姓名|病人姓名|联系人|家属|医师|医生|报告人|审核人|检查者|操作者)\s*[：:]\s*(?P<name>[\u4e00-\u9fff]{2,4})"
    ),
    re.compile(
        rf"(?<![\u4e00-\u9fff])(?:患者|病人)?(?P<name>[{_SURNAMES}][\u4e00-\u9fff]{{1,2}})"
        r"(?=[，,、 ]\s?(?:男|女)(?![\u4e00-\u9fff]))"
    ),
)
_BARE = re.compile(rf"(?<![\w'-])(?P<first>[A-Z][a-z]+|[A-Z]{{3,}})(?P<rest>(?: [A-Z]\.?)? {_TOKEN})")
_REVERSED = re.compile(r"(?<![\w'-])(?P<rest>[A-Z][\w'-]+), (?P<first>[A-Z][a-z]+|[A-Z]{3,})(?: [A-Z]\.?)?(?![\w'-])")
_NOBODY = re.compile(
    r"anonym|unknown|redacted|withheld|removed|de-?identified|\b(?:not|none|n/?a|patient|subject|normal|blinded|available"
    r"|applicable|phantom|test)\b",
    re.I,
)
_NO_SURNAME = frozenset(
    [
        "syndrome",
        "disease",
        "sign",
        "test",
        "score",
        "scale",
        "classification",
        "fracture",
        "lesion",
        "tumor",
        "tumour",
        "cell",
        "cells",
        "body",
        "bodies",
        "law",
        "line",
        "artery",
        "vein",
        "nerve",
        "node",
        "nodule",
        "procedure",
        "operation",
        "maneuver",
        "manoeuvre",
        "reflex",
        "duct",
        "gland",
        "space",
        "pouch",
        "ligament",
        "canal",
        "triangle",
        "stain",
        "staining",
        "method",
        "criteria",
        "grade",
        "stage",
        "phenomenon",
        "palsy",
        "paralysis",
        "murmur",
        "anomaly",
        "malformation",
        "aneurysm",
        "hernia",
        "ulcer",
        "point",
        "plate",
        "tube",
        "catheter",
        "splint",
        "valve",
        "hospital",
        "university",
        "college",
        "center",
        "centre",
        "clinic",
        "institute",
        "county",
        "city",
        "street",
        "avenue",
        "road",
        "island",
        "islands",
        "river",
    ]
)
"""What stands behind the name of a discoverer or of a place."""
_PLAIN = frozenset(["et", "and", "or", "of", "the", "is", "was", "has", "in", "with", "who"])
_FOLLOWING = re.compile(r"(?:'s)? (\w+)")


class Found(NamedTuple):
    """Identity at ``start`` to ``stop`` (exclusive) of a text."""

    start: int
    stop: int
    reason: Reason


@functools.cache
def given_names() -> frozenset[str]:
    """Common given names, in lower case."""
    return frozenset(word_list("given_names.txt"))


def find(text: str, names: bool = True) -> list[Found]:
    """Everything in ``text`` that identifies, in order, without overlaps.

    Names are found behind a title, a label or a role, before a degree, in the forms of DICOM and of a table, and
    where a common given name stands before another capitalised word; any other bare name passes.
    """
    taken: list[Found] = []
    for reason, pattern in STRUCTURED:
        _take(taken, ((found.start(), found.end()) for found in pattern.finditer(text)), reason)
    if names:
        _take(taken, _names(text), Reason.PHI_NAME)
    return taken


def _take(taken: list[Found], spans: Iterator[tuple[int, int]], reason: Reason) -> None:
    """Add the spans that overlap nothing; ``taken`` stays in order, so that its neighbours alone are looked at."""
    for start, stop in spans:
        at = bisect.bisect_left(taken, (start,))  # type: ignore[type-var]
        before_ends = at == 0 or taken[at - 1].stop <= start
        if start < stop and before_ends and (at == len(taken) or stop <= taken[at].start):
            taken.insert(at, Found(start, stop, reason))


def _names(text: str) -> Iterator[tuple[int, int]]:
    for pattern in _NAMES:
        for found in pattern.finditer(text):
            start, stop = found.span("name")
            name = text[start:stop]
            trimmed = name.rstrip(" .,;:")
            if not _NOBODY.search(trimmed) and trimmed.split()[-1].lower() not in _NO_SURNAME:
                yield start, start + len(trimmed)
    for pattern in (_BARE, _REVERSED):
        for found in pattern.finditer(text):
            last = found["rest"].split()[-1].strip(".,;:'’-").lower()
            following = _FOLLOWING.match(text, found.end())
            if (
                found["first"].lower() in given_names()
                and len(last) > 1
                and last.removesuffix("'s") not in _NO_SURNAME | _PLAIN
                and not (following and following[1].lower() in _NO_SURNAME)
            ):
                stop = found.end() - (len(found[0]) - len(found[0].rstrip(" .,;:")))
                yield found.start(), stop


def identities(text: str, names: bool = True) -> list[Reason]:
    """Every kind of identity found in ``text``, each once, in the order of their places."""
    return list(dict.fromkeys(found.reason for found in find(text, names)))


@dataclass(frozen=True)
class Redacted:
    """A text without what was found in it, and how many pieces of each kind those were."""

    text: str
    counts: Counter[Reason]


def tag(reason: Reason) -> str:
    """What stands in the place of identity: ``[PHONE]``, ``[NAME]`` ..."""
    return f"[{reason.value.removeprefix('phi_').upper()}]"


def redact(text: str, names: bool = True) -> Redacted:
    """Replace everything found by its tag, again until nothing is found; a clean text comes back as it was."""
    counts: Counter[Reason] = Counter()
    for _ in range(8):  # a tag may end what hid another find
        found = find(text, names)
        if not found:
            break
        counts.update(piece.reason for piece in found)
        for piece in reversed(found):
            text = text[: piece.start] + tag(piece.reason) + text[piece.stop :]
    return Redacted(text, counts)
