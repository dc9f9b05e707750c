"""Statements about the options of a choice: where, which letters, how strong, and in which words."""

from __future__ import annotations

import re
from typing import NamedTuple

from infimed_plugins.medevalkit.answers.choice_claims import index_of, is_label, read_claim
from infimed_plugins.medevalkit.answers.choice_cues import (
    ABROAD,
    BACKWARD,
    COPULA,
    FORWARD,
    ITEM,
    KINDS,
    POSITIVE,
    TURN,
    VERDICT,
    WORDS,
)
from infimed_plugins.medevalkit.answers.context_modifiers import (
    denied_after,
    denied_before,
    is_considered,
    is_contradicted,
    is_hedged,
    is_hypothetical,
    verb_denied,
)
from infimed_plugins.medevalkit.answers.named_options import LABEL, LABELS, NAME, Options, lowered
from infimed_plugins.medevalkit.answers.resolving import set_of
from infimed_plugins.medevalkit.answers.sentence_bounds import sentence_end, sentence_start
from infimed_plugins.medevalkit.answers.words import phrases, word_set

CONCLUDED, SAID, DOUBTED = 3, 2, 1
"""Strengths: "the answer is B"; "B." at the beginning or end; "it might be B"."""


class Statement(NamedTuple):
    """One claim about the options. ``letters`` is "" with a ``reason`` where it claims that none, or no single one,
    holds."""

    start: int
    end: int
    letters: str
    strength: int
    how: str
    reason: str = ""


_SUPERLATIVE = re.compile(
    r"\b(?:most|best|therefore|thus|hence|so|correct|only|likely|should|must|conclude|conclusion)\b"
)
_HOLDS = word_set("correct right true accurate consistent appropriate likely suitable 正确 对 符合 ✓ ✔ ✅")
_LABEL_NEXT = re.compile(rf"[ :]{{0,3}}\n{{0,2}} ?(?=[{LABELS}])")
_CHINESE = re.compile("[答选最正结故应因综所认觉判诊解回정답선\\[→∴=]")


def find_statements(
    text: str, options: Options, multiple: bool, negative: bool = False, start: int = 0
) -> list[Statement]:
    """Every explicit statement, in the order of the text; what is denied or only considered is not one.

    ``negative``: the question asks for what does not hold, so that "C is correct" chooses nothing. What begins before
    ``start`` is context alone.
    """
    low = lowered(text)
    found: list[Statement | None] = []
    items: list[int] = []
    reached = 0
    kinds = KINDS.get
    for word in WORDS.finditer(low, start):
        kind = kinds(word.group())
        if kind is None:
            continue
        at = word.start()
        if kind == "item":
            items.append(at)
        elif kind == "turn":
            if (cue := TURN.match(low, at)) is not None and _begins(low, cue, False):
                found.append(_forward(text, low, cue, options, multiple, True))
        elif kind == "noun":
            if at >= reached and (cue := FORWARD.match(low, at)) is not None and _begins(low, cue, False):
                found.append(_forward(text, low, cue, options, multiple, False))
                reached = cue.end()
        elif kind == "is":
            if (label := _LABEL_NEXT.match(low, word.end())) is not None:
                found.append(_copula(text, low, at, label.end(), options, multiple))
        elif (cue := COPULA.match(low, at)) is not None and _begins(low, cue, True):
            found.append(_forward(text, low, cue, options, multiple, True))
    if not low.isascii() or "[" in low or "=" in low:
        for sign in _CHINESE.finditer(low, start):
            for pattern in (FORWARD, COPULA):
                if (cue := pattern.match(low, sign.start())) is not None:
                    found.append(_forward(text, low, cue, options, multiple, pattern is COPULA))
    for at in items:
        if (match := BACKWARD.match(low, at)) is not None and not (negative and match["right"] in _HOLDS):
            found.append(_backward(text, low, match, options, multiple))
    if not negative:
        found.append(_verdicts(low, items, options, multiple))
    return sorted((one for one in found if one is not None), key=lambda statement: (statement.end, statement.strength))


def _copula(text: str, low: str, at: int, stop: int, options: Options, multiple: bool) -> Statement | None:
    """ "the most likely step is (F)": a label after "is" in a sentence that concludes."""
    before = low[sentence_start(text, at) : at]
    claim = read_claim(text, low, stop, options, multiple)
    if (
        claim is None
        or not _SUPERLATIVE.search(before)
        or is_considered(before)
        or denied_before(before)
        or _asked(low, claim[0])
    ):
        return None
    if claim[1] and (
        denied_after(low[claim[0] : claim[0] + 200], before + " is ") or is_contradicted(low[claim[0] : claim[0] + 200])
    ):
        return None
    strength = DOUBTED if is_hedged(before) and claim[1] else CONCLUDED
    return Statement(at, claim[0], claim[1], strength, "stated", claim[2])


def _begins(low: str, cue: re.Match[str], copula: bool) -> bool:
    """Whether a cue begins with a word, and "so" with a clause."""
    start = cue.start()
    if not start:
        return True
    before = low[start - 1]
    if low[start].isascii() and low[start].isalpha() and (before.isalnum() or before == "_") and before.isascii():
        return False
    if copula and cue["so"]:
        return low[max(0, start - 3) : start].rstrip(" ")[-1:] in ("", "\n", *".,;:!?。—-") or before == "\n"
    return True


def _forward(
    text: str, low: str, cue: re.Match[str], options: Options, multiple: bool, copula: bool
) -> Statement | None:
    claim = read_claim(text, low, cue.end(), options, multiple)
    if claim is None:
        return None
    end, letters, reason = claim
    groups = cue.groupdict()
    noun = groups.get("noun") or ""
    if _STEP.match(cue.group()):
        return None  # "Step 3:" is a heading
    if (
        noun.endswith("s")
        and not multiple
        and ":" in cue.group()
        and "\n" in cue.group() + low[cue.end() : cue.end() + 1]
    ):
        return None  # "the answers:", "options:" begin a list
    if reason == "no_such_option" and not _ASKED_FOR.search(noun + (groups.get("final") or "")):
        return None  # "therefore, q": a letter of something else
    if reason == "no_option" and (copula or not (_ASKED_FOR.search(noun) or _ASKED_FOR_CHINESE.search(cue.group()))):
        return None
    by_name = any(NAME <= ord(char) < LABEL for char in low[cue.end() : end])
    if by_name and (copula or not _ASKED_FOR.search(noun or "answer")):
        return None  # "it is warfarin" names an option, which is read as such
    before = low[sentence_start(text, cue.start()) : cue.start()]
    if _is_article(text, end) and (copula or not _ASKED_FOR.search(noun or "answer")):
        return None
    if verb_denied(before) and (groups.get("verb") or groups.get("chinese")):
        return None
    if copula and _NOTHING.search(before) and not cue["so"]:
        return None
    if (copula and _LEAST.search(before)) or _OTHERS.search(before) or (noun and _NOT_THE.search(before)):
        return None
    if groups.get("turn") and not _ENDS_TURN.match(low, end):
        return None
    if denied_before(cue.group()) or _asked(low, end) or is_considered(before) or is_hypothetical(before + cue.group()):
        return None
    after = low[end : end + 200]
    if is_contradicted(after) or (letters and not reason and denied_after(after, before + cue.group())):
        return None
    doubted = bool(letters) and is_hedged(f"{before} {cue.group()}")
    return Statement(cue.start(), end, letters, DOUBTED if doubted else CONCLUDED, "stated", reason)


_NOTHING = re.compile(r"\b(?:no|nothing|none|little)\b(?! (?:doubt|question))[^.,;]{0,40}$")
""" "No finding supports B"."""
_STEP = re.compile(r"step ?\d")
_LEAST = re.compile(r"\b(?:least|less)(?: \w+)?\s?$")
_OTHERS = re.compile(r"\b(?:incorrect|wrong|other|alternative|remaining|rejected|eliminated) $")
"""What makes "answers: A, B" the answers that are none."""
_NOT_THE = re.compile(
    r"(?:\bnot|n't)(?: (?:the|an?|be|being|considered|likely|as|most|correct|right|best|valid)){0,4} ?$"
)
"""What makes of "the correct answer: A ..." the heading of those that are none."""
_ENDS_TURN = re.compile(r"[\"')\]]*\s?(?:[.!\n(]|$|,? (?:because|since|as|is (?:the|right|correct))\b)")
"""What may follow a letter after "actually" or its like, so that this is an answer."""
_ASKED_FOR_CHINESE = re.compile("答案|选项|选择|正解|正答|答え|解答|정답|답")
_ASKED_FOR = re.compile(f"answer|option|choice|ans|one|letter|{ABROAD}")
_SEEMING = phrases("seems|appears|looks|remains|would be|should be|must be")
_HOLDS_OF_A = phrases("correct|right|true|best|better|answer|choice|option|likely|appropriate")
"""What is said of the option A, and of no thing that an article begins ("A is correct")."""
_FITTING = phrases("fits|suits|matches|explains|describes|accounts")
_MAKES = re.compile(
    r"\b(?:mak(?:es?|ing)|leav(?:es?|ing)|left|render(?:s|ing)?|consider|call|deem|regard|see)[\"'( ]*$"
)
"""What stands before "C the best answer"."""


def _is_article(text: str, end: int) -> bool:
    """Whether the claim is the small "a" at which a long text was cut ("... the correlation between them. It is a")."""
    return text[end - 1 : end] == "a" and end > _SHORT and not text[end:].strip()


_SHORT = 40


def _asked(text: str, end: int) -> bool:
    stop = sentence_end(text, end)
    return stop < len(text) and text[stop] == "?"


def _backward(text: str, low: str, match: re.Match[str], options: Options, multiple: bool) -> Statement | None:
    start = match.start("item")
    item = match["item"]
    if match["right"] == "it is" or (item not in "ai" and match["join"].strip() in _SEEMING):
        pass
    elif not match["join"] and low[match.end("join")] == " ":
        if not _MAKES.search(low[max(0, start - 20) : start]):
            return None
    elif (
        not is_label(low, start, start + 1)
        and match["join"].strip() not in (*(":", "是", "项", "选项", "均", "都", "is"),)
        and match["right"] != "better"
        and not match["join"].startswith(_FITTING)
    ):
        return None
    if ord(item) < NAME and item in "ai" and match["join"].strip() in ("is", "was", "-", "="):
        joins = ("is", "was") if item == "a" else ("is",)  # "I was right" is said of a person
        said = match["join"].strip() in joins and match["right"] in _HOLDS_OF_A
        if not said or not text[start].isupper():
            return None
    index = index_of(item)
    if index >= len(options):
        return None
    first = sentence_start(text, start)
    before = low[first:start] if match["join"] else _MAKES.sub("", low[first:start])
    if denied_before(before) or is_considered(before) or _asked(low, match.end()):
        return None
    if match["right"] in phrases(
        "true|likely|consistent|answer|choice|option|accurate|preferred|of choice|first-line|first line|符合"
    ) and re.match(r"[^.\n]{0,12}\b(?:but|however|yet|only|that)\b", low[match.end() : match.end() + 30]):
        return None
    if is_contradicted(low[match.end() : match.end() + 200]):
        return None
    indices = [*_before_list(low, first, start, options), index]
    if len(set(indices)) > 1 and not multiple and not re.search(r"are|均|都|were", match["join"] + match.group()):
        indices = [index]
    several = set_of(indices, options, multiple)
    strength = DOUBTED if is_hedged(before + match.group()) else CONCLUDED
    return Statement(start, match.end(), several.letters, strength, "called right", several.reason)


_LIST_BEFORE = re.compile(rf"({ITEM})[\"')]*(?: ?(?:,? ?\band\b|,|、|和|与|及|;|/|&) ?(?:and )?[\"'(]*(?:option )?)$")


def _before_list(text: str, first: int, start: int, options: Options) -> list[int]:
    indices: list[int] = []
    while len(indices) < 26 and (found := _LIST_BEFORE.search(text[max(first, start - 40) : start])) is not None:
        start = max(first, start - 40) + found.start(1)
        index = index_of(found[1])
        if index >= len(options):
            break
        indices.insert(0, index)
    return indices


def _verdicts(low: str, items: list[int], options: Options, multiple: bool) -> Statement | None:
    """A verdict on each option in turn: those called right, if at least two options got one."""
    verdicts: dict[int, bool] = {}
    last = start = 0
    for at in items:
        match = VERDICT.match(low, at)
        if match is not None and (index := index_of(match["item"])) < len(options):
            start = start if verdicts else at
            verdicts[index] = match["verdict"] in POSITIVE
            last = match.end()
    right = [index for index, holds in verdicts.items() if holds]
    if len(verdicts) < 2 or len(right) == len(verdicts) or not right:
        return None
    several = set_of(right, options, multiple)
    return Statement(start, last, several.letters, CONCLUDED, "verdict on each option", several.reason)
