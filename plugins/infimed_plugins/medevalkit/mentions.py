"""Which options a text names, leaving out what it denies."""

from __future__ import annotations

import re
from collections.abc import Sequence

from infimed_plugins.medevalkit.reading import normalise

_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|no|never|neither|nor|without|isn't|wasn't|unlike|rather\s+than|instead\s+of|rules?\s+out|ruled\s+out|"
    r"excludes?|excluded|against)\s+(?:\w+\s+){0,2}|(?:不是|并非|不应|不考虑|排除|而非|没有)[^,。;]{0,4})$"
)
_DENIED_AFTER = re.compile(
    r"^\W*(?:(?:is|are|was|were|can|would|could|does|do|should|seems?|appears?)\s+(?:also\s+|very\s+|therefore\s+)?"
    r"(?:not|wrong|incorrect|unlikely|excluded|ruled\s+out|be\s+(?:excluded|ruled\s+out)|less\s+likely|contraindicated|inappropriate)\b"
    r"|(?:isn't|aren't|wasn't|doesn't|can't|cannot)\b|[^,。;]{0,3}(?:不正确|错误|不对|不是|可排除|不符))"
)
_POLAR = {"yes", "no", "maybe", "true", "false", "是", "否", "uncertain", "unknown"}


def mentioned(text: str, texts: Sequence[str]) -> set[int]:
    """Indices of the (normalised) option texts that ``text`` names, each at a place not inside a longer one's.

    Where the options are yes, no, maybe, only the first word counts: "no" is too common a word to search for.
    """
    folded = " ".join(re.sub(r"[\"'`*_()\[\]{}]", " ", text.casefold()).split())
    if all(option in _POLAR for option in texts):
        first = re.search(r"\w+", folded)
        return {index for index, option in enumerate(texts) if first and option == first.group()}
    spans: list[tuple[int, int, int]] = []
    for index, option in enumerate(texts):
        if not option:
            continue
        needle = r"\s+(?:(?:a|an|the)\s+)?".join(re.escape(word) for word in option.split())
        edge = (r"(?<!\w)", r"(?!\w)") if option.isascii() else ("", "")
        if option.isascii() and len(option) < 2:
            continue
        spans += [(m.start(), m.end(), index) for m in re.finditer(edge[0] + needle + edge[1], folded)]
    outer = [
        span
        for span in spans
        if not any(o[0] <= span[0] and span[1] <= o[1] and o[1] - o[0] > span[1] - span[0] for o in spans)
    ]
    return {
        index
        for start, stop, index in outer
        if not _DENIED_BEFORE.search(folded[:start]) and not _DENIED_AFTER.search(folded[stop:])
    }


def partly_named(text: str, texts: Sequence[str]) -> int | None:
    """The one option that holds the whole response as a run of its words; ``None`` where it is not just one."""
    short = normalise(text)
    if len(short) < 3 or re.fullmatch(r"[\d\W]+", short):
        return None
    found = [index for index, option in enumerate(texts) if re.search(rf"(?<!\w){re.escape(short)}(?!\w)", option)]
    return found[0] if len(found) == 1 else None
