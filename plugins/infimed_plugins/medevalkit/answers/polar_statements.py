"""What a statement answers to the yes-or-no question that it repeats."""

from __future__ import annotations

import re
from functools import lru_cache

from infimed_plugins.medevalkit.answers.sentences import DENYING, Sentence, read_sentences
from infimed_plugins.medevalkit.answers.values import OPPOSITES
from infimed_plugins.medevalkit.answers.vocabulary import same_as, value_of, words_of
from infimed_plugins.medevalkit.answers.words import phrases, word_set

_ASKING = word_set(
    "is are was were do does did has have had can could will would should may might there any a an the "
    "this that these those it in on of at to for with by from as be been being you we he she they his her "
    "its their or and evidence sign seen see visible present show shown appear image picture scan photo "
    "figure x ray film patient in within contain look looks appear appears seem seems presence indication "
    "sign any suggested show reveal reveals sound do consistent suggest suggestive indicate indicated "
    "identify identified demonstrate demonstrated noted evident depict depicted here view finding "
    "considered used done enhanced given administered taken acquired obtained performed plane"
)
_SUBJECT_FREE = frozenset(["some", "any", "anything", "something", "type", "kind"])
_STRONG_HEDGES = re.compile(
    r"\b(?:possibl[ey]|may|might|could|perhaps|maybe|uncertain|unclear|cannot be (?:excluded|ruled out|"
    r"determined)|can't be (?:excluded|ruled out)|equivocal|difficult to|hard to|not (?:clear|certain|"
    r"possible)|whether|please|presence or absence)\b",
    re.IGNORECASE,
)


_UNDECIDED = re.compile(
    r"^\W*(?:if|unless|whether|(?:in order )?to (?:decide|determine|see|assess|evaluate|check|know|tell|judge|say|"
    r"confirm|find|identify|establish|rule out|exclude))\b|\b(?:and|or|with|that|the|of|an?|to|is|are|was|by|in|for|"
    r"which|as|from|because|but|we|i)$|\b(?:needed|required|recommended|necessary|advised|indicated|helpful|"
    r"warranted) "
    r"(?:to|for)\b|\b(?:not|un) ?(?:sure|certain)\b|\bwonder|\bif there (?:is|are)\b",
    re.IGNORECASE,
)
"""A sentence that only sets out to decide, asks for more, or stops in its middle."""
_DEFINES = re.compile(
    r"^\W*(?:an? )?(?!(?:this|it|that|the|there|these|they|image|patient)\b)\w+(?: \w+){0,3} (?:(?:is|"
    r"are) (?:an? |any )?"
    r"(?:\w+ ){0,3}?(?:condition|disease|disorder|term|type of|form of|kind of)\b|means?\b|refers? to\b|"
    r"occurs? when\b|"
    r"(?:is|are) (?:defined|characteri[sz]ed)\b)",
    re.IGNORECASE,
)
"""What a thing is, not whether it is there ("a pneumothorax is a condition in which")."""


_TAIL = re.compile(
    r"(?<=\w), (?:(?:as|because|since) (?:it|they|there|the)|which|where|with)\b(?: \w+){0,5}$", re.IGNORECASE
)
"""A clause that only explains, in which a text was cut: what stands before it is said."""


def by_statement(text: str, question: str) -> tuple[str, str]:
    """("yes" | "no" | "", the sentence): what the text says of the very thing that a yes-or-no question asks."""
    asked = asked_of(question)
    if not asked:
        return "", ""
    negative = bool({"not", "no", "without", "absent"} & set(words_of(question.split("?")[0])[1:]))
    found: dict[str, str] = {}
    for sentence in read_sentences(text):
        said = "" if sentence.asked else _said_of(asked, sentence)
        whole = _TAIL.sub("", sentence.text)
        if not said or said in found or _UNDECIDED.search(whole) or _DEFINES.match(sentence.text):
            continue
        hedge = _STRONG_HEDGES.search(sentence.text)
        if hedge is None or words_of(hedge.group())[-1] in asked:  # "the lungs are not clear"
            found[said] = sentence.text
    if len(found) != 1 or negative:
        return "", ""
    said, statement = next(iter(found.items()))
    return said, statement[:300]


_NUMBERED = re.compile(
    r"\b(?:(?:in|on|of|from|by) )?(?:the |this )?(?:image|figure|fig\.?|picture|scan|panel|slide|photo|case|study|"
    r"view) ?#?(?:\d+[a-z]?|[A-H])\b",
    re.IGNORECASE,
)
"""The number of a picture ("in image 2"), which an answer need not repeat."""


@lru_cache(maxsize=8192)
def asked_of(question: str) -> tuple[str, ...]:
    """What a yes-or-no question asks about: its words without those of asking; nothing for another question."""
    words = words_of(_NUMBERED.sub(" ", question.split("?")[0] if "?" in question else question))
    if not words or words[0] not in phrases("is|are|was|were|do|does|did|has|have|had|can|could|will|would"):
        at = next((i for i, word in enumerate(words) if word in ("is", "are", "does", "do")), None)
        if at is None or words[:1] in (["what"], ["which"], ["where"], ["how"], ["who"], ["why"], ["when"]) or at > 8:
            return ()
        words = words[at:]
    if "or" in words:
        return ()
    asked = tuple(word for word in words[1:] if word not in _ASKING and word not in _SUBJECT_FREE)
    return asked[:-1] if len(asked) > 1 and asked[-1] in _OF_ASPECT and asked[-2] in _GENERAL else asked


def _said_of(asked: tuple[str, ...], sentence: Sentence) -> str:
    """yes, no or "" for one sentence: every asked word said, or its opposite in the place of the last of them."""
    polarity: list[bool] = []
    opposed, all_said = False, True
    for number, word in enumerate(asked):
        places = sentence.find(same_as((word,))) or _derived(word, sentence)
        if places:
            polarity.append(all(sentence.denied[at] or _is_non(sentence, at, asked) for at in places))
            continue
        other = _opposite(word, sentence)
        if other is None and value_of((word,)) is not None and asked[-1] in _GENERAL and _PICTURE & set(sentence.words):
            continue  # "the x-ray is normal" says so of the lungs in it
        if other is None and word.endswith("ed") and number and _NORMAL & set(sentence.words) and all_said:
            other = next(at for at, said in enumerate(sentence.words) if said in _NORMAL)  # "inflamed?", "is normal"
        if other is None:
            all_said = False
            if number < len(asked) - 1 and _is_short(asked, sentence):  # "it is not enlarged"
                continue
            if opposed and word in ("left", "right"):  # "the trachea is midline" for "deviated to the right"
                continue
            if len(asked) > 1 and number < len(asked) - 1 and word in _LOOSE:
                continue
            return ""
        opposed = True
        polarity.append(sentence.denied[other])
    if not polarity:
        return ""
    if not any((word in DENYING or word in _ENDED) and word not in asked for word in sentence.words):
        polarity = [False] * len(polarity)  # "free air", "gram negative": what is asked, and no denial
    denied = polarity[-1] if not opposed else any(polarity)
    if not opposed and any(polarity):
        denied = True
    return "no" if (denied != opposed) != _compares_round(asked, sentence) else "yes"


_ENDED = frozenset(["ruled", "excluded", "resolved", "non"])


def _is_non(sentence: Sentence, at: int, asked: tuple[str, ...]) -> bool:
    """Whether a word is turned by what stands before it ("non-contrast")."""
    return at > 0 and sentence.words[at - 1] == "non" and "non" not in asked


def _compares_round(asked: tuple[str, ...], sentence: Sentence) -> bool:
    """Whether a sentence compares the two things of the question the other way round ("the left is larger")."""
    if "than" not in asked or "than" not in sentence.words:
        return False
    at, place = asked.index("than"), sentence.words.index("than")
    first, second = set(asked[:at]) - set(asked[at:]), set(asked[at + 1 :]) - set(asked[:at])
    before, after = set(sentence.words[:place]), set(sentence.words[place:])
    return bool(second) and second <= before - after and bool(first & (after - before))


_OF_ASPECT = frozenset(["appearance", "size", "shape", "position", "limit"])
"""What follows "normal in", which an answer need not repeat."""
_GENERAL = frozenset(["normal", "abnormal", "abnormality", "healthy", "unremarkable"])
_PICTURE = word_set("image ray xray scan ct mri picture film radiograph")
_LOOSE = word_set("lung chest brain abdomen head acute obvious significant large small visible multiple") & frozenset(
    ["obvious", "visible", "significant"]
) | {"size", "shape", "appearance", "structure"}


_NORMAL = frozenset(["normal", "unremarkable", "healthy"])


_SURELY = word_set("they these both side likely most probably clearly definitely very quite")


def _is_short(asked: tuple[str, ...], sentence: Sentence) -> bool:
    """Whether a sentence says of "it" the last word that is asked, and nothing else."""
    words = sentence.words
    if not words:  # signs alone
        return False
    opposites = {other for pair in OPPOSITES for other in pair if set(pair) & set(asked)}
    rest = set(words) - _ASKING - DENYING - opposites - {*asked, *_SURELY}
    said = asked[-1] in words or any(asked[-1] in pair and set(pair) & set(words) for pair in OPPOSITES)
    return words[0] in ("it", "they", "this", "these", "that") and said and not rest


_ENDINGS = word_set("ed d ation cation mation ion tion ition ment ement ing e es ity t cy ated tation al y ies ied") | {
    ""
}


def _derived(word: str, sentence: Sentence) -> list[int]:
    """Where the verb or the noun stands that the word is made of or from: calcified, calcification."""
    if len(word) < 5:
        return []
    return [at for at, other in enumerate(sentence.words) if len(other) > 4 and _same_stem(word, other)]


@lru_cache(maxsize=65536)
def _same_stem(one: str, other: str) -> bool:
    size = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return size >= max(5, min(len(one), len(other)) - 3) and one[size:] in _ENDINGS and other[size:] in _ENDINGS


def _opposite(word: str, sentence: Sentence) -> int | None:
    for at, other in enumerate(sentence.words):
        if len(word) > 4 and other.endswith(word) and other[: -len(word)] in ("un", "non", "in", "im", "ir"):
            return at
    for pair in OPPOSITES:
        if word in pair or (word.rstrip("s") in pair):
            other = pair[1] if pair[0] == word else pair[0]
            places = sentence.find(same_as(tuple(words_of(other))))
            if places:
                return places[0]
    return None
