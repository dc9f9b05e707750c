"""Identity in text: where it stands, what kind it is, and the text without it."""

from __future__ import annotations

import bisect
import functools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from infimed_plugins.quality import identity_names, identity_search
from infimed_plugins.quality.identity_names import given_names, is_given, is_ordinary, names_in
from infimed_plugins.quality.identity_places import ENDING, files_in, links_in
from infimed_plugins.quality.identity_prefilter import Sieve
from infimed_plugins.quality.identity_search import structured_in
from infimed_plugins.quality.reasons import Reason

__all__ = ["WEAK", "Found", "Redacted", "find", "given_names", "identities", "redact", "tag"]

WEAK = frozenset({Reason.PHI_NAME, Reason.PHI_DATE, Reason.PHI_AGE})
"""Identity that points at a person only together with something else."""

_HELD = Sieve(re.compile(r"://|www\.", re.I), ENDING, *identity_names.LOOKS, *identity_search.LOOKS)
"""What links, names of files, names of people and all that is structured cannot be without."""
_NAMES, _STRUCTURED = 2, 2 + len(identity_names.LOOKS)
"""The bits at which those of names and of structured identity begin."""


class Found(NamedTuple):
    """Identity at ``start`` to ``stop`` (exclusive) of a text."""

    start: int
    stop: int
    reason: Reason


def find(text: str, names: bool = True) -> list[Found]:
    """Everything in ``text`` that identifies, in order, without overlaps.

    Names are found behind a title, a label or a role, before a degree, in the forms of DICOM and of a table, and
    where a common given name stands before another capitalised word; any other bare name passes.
    """
    taken: list[Found] = []
    held, twice = _HELD(text.split())
    if held & 1:
        _take(taken, links_in(text, is_given, is_ordinary), Reason.PHI_NETWORK)
    if names and held & 2:
        _take(taken, files_in(text, is_given, is_ordinary), Reason.PHI_NAME)
    for reason, spans in structured_in(text, held >> _STRUCTURED):
        _take(taken, spans, reason)
    if names:
        _take(taken, names_in(text, held >> _NAMES, twice >> _NAMES), Reason.PHI_NAME)
    return taken


def _take(taken: list[Found], spans: Iterator[tuple[int, int]], reason: Reason) -> None:
    """Add the spans that overlap nothing; ``taken`` stays in order, so that its neighbours alone are looked at."""
    for start, stop in spans:
        at = bisect.bisect_left(taken, (start,))  # type: ignore[type-var]
        before_ends = at == 0 or taken[at - 1].stop <= start
        if start < stop and before_ends and (at == len(taken) or stop <= taken[at].start):
            taken.insert(at, Found(start, stop, reason))


SHORT = 64
"""Characters of a text that is likely to come again: keys and values of tags, parts of paths."""


def identities(text: str, names: bool = True) -> list[Reason]:
    """Every kind of identity found in ``text``, each once, in the order of their places."""
    return list(_of_short(text, names) if len(text) <= SHORT else _kinds(text, names))


def _kinds(text: str, names: bool) -> tuple[Reason, ...]:
    return tuple(dict.fromkeys(found.reason for found in find(text, names)))


_of_short = functools.lru_cache(maxsize=1 << 14)(_kinds)


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
        pieces: list[str] = []
        end = 0
        for piece in found:
            pieces += (text[end : piece.start], tag(piece.reason))
            end = piece.stop
        text = "".join((*pieces, text[end:]))
    return Redacted(text, counts)
