"""Options that a text names without stating a choice: the one that is left when denied and doubtful ones are gone."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from functools import lru_cache
from typing import NamedTuple

from infimed_plugins.medevalkit.answers.context_modifiers import (
    HEDGED,
    denied_after,
    denied_before,
    is_considered,
)
from infimed_plugins.medevalkit.answers.named_options import LABEL, LETTERS, NAME, Options
from infimed_plugins.medevalkit.answers.sentence_bounds import sentence_end, sentence_start
from infimed_plugins.medevalkit.answers.sentences import read_sentences
from infimed_plugins.medevalkit.answers.vocabulary import words_of
from infimed_plugins.medevalkit.answers.words import word_set

_ITEM = re.compile(r"[\ue000-\ue019\ue100-\ue119]")
_CONCLUDES = re.compile(
    r"\b(?:therefore|thus|hence|so|in conclusion|conclusion|in summary|overall|finally|consequently|"
    r"accordingly|most likely|most consistent|best (?:explain|describ|fit|match|choice|answer|next)\w*|"
    r"the (?:correct|best|right|final)|answer|diagnosis|i (?:would|will|'d)|should be|is indicated|points? to|"
    r"suggests?|gold standard|(?:treatment|drug|test|method) of choice)\b|因此|所以|综上|故|最",
    re.IGNORECASE,
)
_CONCLUDES_OF_ITEM = re.compile(
    r"\b(?:therefore|most (?:likely|consistent|probable|appropriate)|"
    r"best (?:explain|describ|fit|match|choice|answer)\w*|(?:the|is|are|this) (?:correct|right)|(?:my|the) answer)\b|"
    r"因此|所以|最",
    re.IGNORECASE,
)
"""What makes an entry of a list of all options the one that is chosen; what each of them suggests does not."""
_DANGLES = re.compile(
    r"\b(?:and|or|with|that|the|of|an?|to|is|are|was|by|in|for|which|as|from|on|at|has|have|this|because|but)$",
    re.IGNORECASE,
)
_OPEN_END = re.compile(r"[\w,\-]$")


class Named(NamedTuple):
    """The letter that is named, or why none is; nothing of both where no option is named."""

    letters: str = ""
    reason: str = ""
    how: str = ""
    start: int = 0
    end: int = 0


def named_in_prose(text: str, options: Options, cut: bool) -> Named:
    """The one option that is named and neither denied nor only considered; or the one that the last conclusion
    names."""
    standing: list[tuple[int, int]] = []
    for match in _ITEM.finditer(text):
        code = ord(match.group())
        index = code - LABEL if code >= LABEL else code - NAME
        if index < len(options) and _stands(text, match.start(), cut):
            standing.append((match.start(), index))
    standing = _without_lists(text, standing, len(options))
    of_no_list = _without_entries(text, standing, len(options))
    if standing and not of_no_list:
        return Named("", "several_answers")
    standing = [one for one in of_no_list if not _is_aside(text, one[0], of_no_list)]
    if not standing:
        return Named()
    indices = {index for _, index in standing}
    *_, last = _ITEM.finditer(text)
    going_through = _is_cut(text, last.start()) and last.start() not in {at for at, _ in standing}
    if len(indices) == 1 and (going_through or all(_is_cut(text, at) for at, _ in standing)):
        return Named()  # the text was cut while it went through the options
    if len(indices) == 1 and (len(text) <= 400 or _is_weighty(text, standing)):
        at, index = standing[-1]
        return Named(LETTERS[index], "", "option named", sentence_start(text, at), sentence_end(text, at))
    for at, _ in reversed(standing):
        start, end = sentence_start(text, at), sentence_end(text, at)
        if _CONCLUDES.search(text, start, end):
            concluded = {index for place, index in standing if start <= place <= end}
            if len(concluded) == 1 and at == standing[-1][0]:
                return Named(LETTERS[concluded.pop()], "", "concluded by name", start, end)
            break
    return Named("", "several_answers")


def _is_cut(text: str, at: int) -> bool:
    """Whether a naming stands in a last sentence that does not end, after sentences that do, and more is said there."""
    start, end = sentence_start(text, at), sentence_end(text, at)
    ended = text[:start].rstrip(" ").endswith((".", "!", "?", "。"))
    return ended and end >= len(text) and _OPEN_END.search(text) is not None and text[at + 1 :].strip() != ""


def _without_lists(text: str, standing: list[tuple[int, int]], num_options: int) -> list[tuple[int, int]]:
    """The namings without those of a sentence that names every option, which repeats the question."""
    if num_options < 3 or len(standing) <= num_options:
        return standing
    by_sentence: dict[int, set[int]] = {}
    for at, index in standing:
        by_sentence.setdefault(sentence_start(text, at), set()).add(index)
    return [one for one in standing if len(by_sentence[sentence_start(text, one[0])]) < num_options] or standing


_ENTRY = re.compile(r"^[^\S\n]*(?:[-*•(\[\"']|\d{1,2}[.)])*[^\S\n]*(?=([\ue000-\ue019\ue100-\ue119]))", re.MULTILINE)


def _without_entries(text: str, standing: list[tuple[int, int]], num_options: int) -> list[tuple[int, int]]:
    """The namings without the lines that go through every option and say what each is; one may still be called best."""
    first: dict[int, int] = {}
    for entry in _ENTRY.finditer(text):
        code = ord(entry[1])
        first.setdefault(code - LABEL if code >= LABEL else code - NAME, entry.start(1))
    if num_options < 3 or not set(range(num_options)) <= first.keys():
        return standing
    starts = [0, *(stop.end() for stop in re.finditer("\n", text))]
    listed = {bisect_right(starts, at) - 1 for at in first.values()}
    of_line = {one: bisect_right(starts, one[0]) - 1 for one in standing}
    if len({index for at, index in standing if of_line[at, index] in listed}) < 2:  # all others are denied there
        return standing
    ends = [*(start - 1 for start in starts[1:]), len(text)]
    chosen = {line for line in listed if _CONCLUDES_OF_ITEM.search(text, starts[line], ends[line])}
    return [one for one in standing if of_line[one] not in listed or of_line[one] in chosen]


_ASIDE = re.compile(r"\b(?:as|which|because|since|due to|associated with|caused by|unlike|although|while)\b")


def _is_aside(text: str, at: int, standing: list[tuple[int, int]]) -> bool:
    """Whether a naming stands in a clause that only explains, after another naming in the same sentence."""
    start = sentence_start(text, at)
    first = standing[bisect_left(standing, (start, -1))][0]  # they are in the order of the text, this one among them
    return first < at and _ASIDE.search(text, first, at) is not None


def _is_weighty(text: str, standing: list[tuple[int, int]]) -> bool:
    """Whether a long text names the option where it concludes: first, last, or in a sentence that says so."""
    for at, _ in standing:
        start, end = sentence_start(text, at), sentence_end(text, at)
        if not start or not text[end:].strip(" .\n") or _CONCLUDES.search(text, start, end):
            return True
    return False


_WITH = re.compile(r"[\ue000-\ue019\ue100-\ue119](?: ?\(?[\ue100-\ue119]\)?)?,? (?:and|or|nor|as well as) $")
"""The option before this one in a list of two, which is denied with it."""
_EXCLUDED = re.compile(
    r"\b(rul(?:e|es|ed|ing) out|exclud(?:e|es|ing)|eliminat(?:e|es|ing)|argu(?:es?|ing) against) "
    r"(?:[\ue000-\ue019\ue100-\ue119()]|, |,? and |,? or | )*$",
    re.IGNORECASE,
)
"""A list of options that is excluded, up to the one that is looked at."""
_REPLACED = re.compile(
    r"^\W*(?:instead of|in place of|rather than|other than|unlike|besides) (?:an? )?[\ue000-\ue019\ue100-\ue119], ",
    re.IGNORECASE,
)
"""What another one takes the place of, with the comma after which that other is named."""
_CONCEDED = re.compile(
    r"^\W*(?:although|though|even though|while|whereas|despite|in spite of|unlike|even if)\b[^,]*$", re.IGNORECASE
)
"""A concession up to a naming in it; what counts comes after its comma."""
_REST_OF_LIST = re.compile(r"^(?:[\"')]*(?:,? and|,? or|,) ?[\ue000-\ue019\ue100-\ue119])+")
"""The options after this one in a list, which is denied as a whole."""
_CALLED_WRONG = re.compile(
    r"[\"')\]]* ?[:=\-,] ?\(?(?:no|false|incorrect|wrong|✗|✘|❌|错误|错|不正确)(?![\w-])", re.IGNORECASE
)
_WOULD = re.compile(
    r"[\"')]*,? would (?:normally |usually |also |have )*(?!be (?:the |an? |most |more |best|appropriate|"
    r"indicated|correct|right|"
    r"needed|required|preferred|given)|explain|help|treat|fit|cover)",
    re.IGNORECASE,
)
"""What an option would do, were it the case ("chronic pancreatitis would show calcifications")."""
_OR = re.compile(r"(?:\bor(?: an?| the)?|或) *$", re.IGNORECASE)


def _stands(text: str, at: int, cut: bool) -> bool:
    start, end = sentence_start(text, at), sentence_end(text, at)
    before, after = _REPLACED.sub("", text[start:at]), text[at + 1 : end + 1]
    if (
        text[end : end + 1] == "?"
        or denied_before(before)
        or denied_before(_WITH.sub("", _EXCLUDED.sub(r"\1 ", before)))
        or denied_after(after, before)
        or denied_after(_REST_OF_LIST.sub("", after), before)
        or is_considered(before)
        or _WOULD.match(after)
        or _CALLED_WRONG.match(after)
    ):
        return False
    stops_inside = end >= len(text) and _OPEN_END.search(text) is not None and len(text) - start > 1
    long_after = (text[at] >= chr(LABEL) and len(after) > 12) or len(after.split()) > 6
    if stops_inside and (cut or long_after or _DANGLES.search(text)):
        return False  # more was to come
    if _OR.search(before[-12:]) or (_CONCEDED.match(before) and "," in after):
        return False
    return not (
        HEDGED.search(before[-40:])
        or re.search(r"\bcan(?:not|'t) be (?:excluded|ruled out)|(?<!with )\bor\b", after[:80])
    )


_SHORT = 800
"""A longer text says many words of many options."""


def in_other_words(text: str, options: Options) -> int | None:
    """The one option of several words all of whose words one sentence says, in any order, undenied and undoubted."""
    found: set[int] = set()
    for sentence in read_sentences(text) if len(text) <= _SHORT else ():
        if sentence.doubted or sentence.asked:
            continue
        said = {word for word, denied in zip(sentence.words, sentence.denied, strict=True) if not denied}
        for index, words in enumerate(_words_of_options(options)):
            if len(words) > 1 and words <= said and not (said & _PREFIXES) - words:
                found.add(index)
    return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=4096)
def _words_of_options(options: Options) -> tuple[frozenset[str], ...]:
    found = []
    for text in options.texts:
        head, _, tail = text.partition(",")
        words = words_of(tail) if head.strip().lower() in ("yes", "no") and tail else words_of(head)
        found.append(frozenset(word for word in words if word not in _SMALL))
    return tuple(found)


_PREFIXES = frozenset(["non", "anti", "pseudo"])
_SMALL = word_set(
    "the a an of in on at to for with and is are by there this image picture scan detected detect seen shown present "
    "visible show shows appear appears"
)


def part_of_one(short: str, options: Options) -> int | None:
    """The one option that holds the whole response as a run of its words; ``None`` where it is not just one."""
    if len(short) < 3 or len(short) > 200 or not any(char.isalpha() for char in short):
        return None
    padded = f" {short} "
    found = [index for index, text in enumerate(options.keys) if padded in f" {text} "]
    return found[0] if len(found) == 1 else None
