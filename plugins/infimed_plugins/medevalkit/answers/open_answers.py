"""Open answers: right where the answer asserts the reference, wrong where it asserts otherwise, else for a judge."""

from __future__ import annotations

import re
from functools import lru_cache

from infimed_plugins.medevalkit.answers.equality import key, key_of_plain, without_reference
from infimed_plugins.medevalkit.answers.folding import fold
from infimed_plugins.medevalkit.answers.numbers import number_of, numbers_in
from infimed_plugins.medevalkit.answers.open_numbers import as_share, grade_number, grade_quantity
from infimed_plugins.medevalkit.answers.other_values import FILLERS, conflict
from infimed_plugins.medevalkit.answers.prepared import MARK, prepare
from infimed_plugins.medevalkit.answers.quantities import quantity_of
from infimed_plugins.medevalkit.answers.reference_parts import (
    Part,
    abbreviated,
    parts_of,
    places_of_units,
    says_opposite,
)
from infimed_plugins.medevalkit.answers.refusals import is_refusal
from infimed_plugins.medevalkit.answers.sentences import Sentence, doubts_in_chinese, read_sentences
from infimed_plugins.medevalkit.answers.verdicts import NEEDS_JUDGE, Verdict
from infimed_plugins.medevalkit.answers.vocabulary import Words, same_as, value_of, words_of
from infimed_plugins.medevalkit.answers.words import word_set

_ENOUGH_WORDS = 5
"""A reference of more content words is a description, and sharing no word with it proves nothing."""


def grade_open(reference: str, response: str | None, question: str = "", ended: str | None = None) -> Verdict:
    """The verdict on an open answer; ``needs_judge`` where no rule decides."""
    prepared = prepare(response, ended)
    if prepared.reason:
        return Verdict(None, prepared.reason)
    question = question if question.isascii() else fold(question)
    wanted = key(reference)
    first = wanted.partition(" ")[0]
    for text in reversed(candidates(prepared.text, prepared.marks)):
        if (not first.isalpha() or first in text.casefold()) and key_of_plain(text) == wanted:
            return Verdict(True, read=text[:200], statement=text[:300])
    text = stated_part(prepared.whole)
    if is_refusal(text) or is_refusal(prepared.whole):
        return Verdict(None, "refusal", read=text[:200])
    if prepared.loop:
        return Verdict(None, "loop")
    number = number_of(reference.rstrip(" %"))
    if number is not None:
        if "%" not in reference:
            return grade_number(number, as_share(number, text), question)
        share = "%" not in text and "percent" not in text and number / 100 in numbers_in(text)
        return grade_number(number / 100 if share else number, text, question)
    size = quantity_of(reference)
    verdict = grade_quantity(size, text) if size is not None else None
    verdict = verdict or _grade_words(reference, text, question)
    if verdict.right is not True and (prepared.cut or _is_broken_off(text, question)):
        return Verdict(None, "truncated", read=text[:200])
    return verdict


def unanswered(response: str | None, ended: str | None = None) -> str:
    """Why there is no answer to be graded, by a rule or by a judge; "" where there is one."""
    prepared = prepare(response, ended)
    if prepared.reason:
        return prepared.reason
    return "refusal" if is_refusal(stated_part(prepared.whole)) else ""


_LEAD = re.compile(
    r"(?:^|(?<=[.\n:]) ?)(?:(?:so|thus|therefore|hence),? )?(?:the |my )?(?:final |correct |best |short "
    r")?(?:answer|diagnosis|conclusion|result) ?(?:is|would be|should be|:|=)(?: that)?[ :]*\n? ?",
    re.IGNORECASE,
)
_INTRODUCTION = re.compile(
    r"^(?:(?:it|this|that|there|they|these)(?: is| are|'s)|(?:it|this|the (?:image|scan|picture|figure|x-ray|"
    r"film|photo\w*))(?: \w+ly)? (?:shows?|depicts?|displays?|is|demonstrates?|reveals?)|i (?:think|"
    r"believe)(?: that)?(?: it| this)?(?: is|'s)?)\s+",
    re.IGNORECASE,
)


def candidates(text: str, marks: tuple[str, ...] = ()) -> list[str]:
    """The texts that may be equal to the reference: the whole, what is marked, what a label introduces, without a
    lead-in."""
    found = [*marks[-1:], text] if not marks or chr(MARK) != text[:1] else [marks[-1]]
    labelled = after_label(found[-1])
    if labelled != found[-1]:
        found.append(labelled)
    for part in tuple(found[-2:]):
        short = _INTRODUCTION.sub("", part.strip(), count=1)
        if short != part:
            found.append(short)
    bare = without_reference(found[-1])
    return found if bare is found[-1] else [*found, bare]


def after_label(text: str) -> str:
    """What follows the last "the answer is" or its like; the whole text where there is none or nothing follows."""
    if "answer" not in text.lower() and "iagnosis" not in text and "onclusion" not in text and "esult" not in text:
        return text
    found = list(_LEAD.finditer(text))
    if not found:
        return text
    rest = text[found[-1].end() :].strip()
    return rest if rest.strip(" .:*") else text


def stated_part(text: str) -> str:
    """The part of an answer that states it: from the last label on."""
    return after_label(text)


def _grade_words(reference: str, text: str, question: str) -> Verdict:
    parts = parts_of(reference.lower())
    sentences = [sentence for sentence in read_sentences(text) if not sentence.asked]
    read = text[:200]
    if not parts or not sentences:
        return Verdict(None, NEEDS_JUDGE, read=read)
    alone = len(parts) == 1 and len(parts[0].units) < _ENOUGH_WORDS
    asked = frozenset(words_of(question)) if alone else frozenset()
    states = [_state(part, sentences, asked) for part in parts]
    forms = {form for part in parts for form in (*part.whole, *(form for unit in part.units for form in unit))}
    if any(_or_other(sentence, forms) for sentence in sentences):
        states = ["doubted" if state == "asserted" else state for state in states]
    other = conflict(reference, sentences, question)
    if all(state == "asserted" for state in states):
        if other == "other":
            return Verdict(False, read=read, statement=text[:300])
        if other:
            return Verdict(None, NEEDS_JUDGE, read=read)
        return Verdict(True, read=read, statement=_deciding(parts[0], sentences))
    numbers = _numbers_named(reference)
    if numbers and (theirs := set(numbers_in(text))) and not numbers & theirs:
        return Verdict(False, read=read)
    if (
        len(parts) == 1
        and states[0] in ("partly", "absent")
        and _lacks_designator(tuple(words_of(reference)), sentences)
    ):
        return Verdict(False, read=read)
    states = _without_shared(parts, states, sentences)
    if "partly" in states and len(parts) == 1 and says_opposite(parts[0], sentences):
        return Verdict(False, read=read, statement=_deciding(parts[0], sentences))
    if alone and _says_normal(reference, sentences):
        return Verdict(False, read=read, statement=text[:300])
    if "doubted" in states or "partly" in states:
        return Verdict(False, read=read) if other == "other" else Verdict(None, NEEDS_JUDGE, read=read)
    if "denied" in states:
        return Verdict(
            False if other != "both" else None,
            NEEDS_JUDGE if other == "both" else "",
            read=read,
            statement=_deciding(parts[0], sentences),
        )
    if "asserted" in states:  # a part of a list
        return Verdict(False, read=read)
    if other == "other":
        return Verdict(False, read=read)
    content = sum(len(part.units) for part in parts)
    if other or content >= _ENOUGH_WORDS or _resembles(parts, sentences, question) or _says_nothing(sentences):
        return Verdict(None, NEEDS_JUDGE, read=read)
    return Verdict(False, read=read)


_LEADS = word_set("the a an right left either of in by from")


def _or_other(sentence: Sentence, forms: set[Words]) -> bool:
    """Whether "or" joins what the reference names to something that it does not name ("pneumonia or an abscess")."""
    for at, word in enumerate(sentence.words):
        if word not in ("or", "或") or sentence.denied[at]:
            continue
        start = at + 1
        while start < len(sentence.words) - 1 and sentence.words[start] in _LEADS:
            start += 1
        before = any(sentence.words[max(0, at - len(form)) : at] == form for form in forms)
        after = any(sentence.words[start : start + len(form)] == form for form in forms)
        if before != after and sentence.words[start : start + 1] not in (("more",), ("less",), ("so",)):
            return True
    return False


def _says_normal(reference: str, sentences: list[Sentence]) -> bool:
    """Whether what should be ill ("brain tumour") is called normal: of the reference only the place is said."""
    normal = any(
        (kind, value) == ("normality", "normal") and not sentence.denied[at]
        for sentence in sentences
        if not sentence.doubted
        for kind, value, at in sentence.values
    )
    if not normal:
        return False
    words = [word for word in words_of(reference) if word not in FILLERS]
    missing = [word for word in words if not any(sentence.find(same_as((word,))) for sentence in sentences)]
    return 0 < len(missing) < len(words) and all(value_of((word,)) is None for word in missing)


def _without_shared(parts: tuple[Part, ...], states: list[str], sentences: list[Sentence]) -> list[str]:
    """The states, where a part counts as absent of which only words of another, asserted part are said."""
    said = {
        unit
        for part, state in zip(parts, states, strict=True)
        if state == "asserted" and any(sentence.find(part.whole) for sentence in sentences)
        for unit in part.units
    }
    return [
        "absent"
        if state == "partly"
        and all(unit in said for unit in part.units if any(sentence.find(unit) for sentence in sentences))
        else state
        for part, state in zip(parts, states, strict=True)
    ]


@lru_cache(maxsize=16384)
def _numbers_named(reference: str) -> frozenset[float]:
    return frozenset(numbers_in(reference))


_PREAMBLE = word_set(
    "show shown taken indicate presence view perspective close up section human specifically evidence "
    "present seen visible appear large located represent provide indicated evidenced person various "
    "reason can display depict close-up"
)


def _is_broken_off(text: str, question: str) -> bool:
    """Whether a sentence stops in its middle before it says anything: words with a verb, no stop, no content of its
    own."""
    asked = set(words_of(question))
    if any(
        word not in FILLERS and word not in _PREAMBLE and word not in asked for word in words_of(text) if len(word) > 2
    ):
        return False
    line = text[text.rfind("\n") + 1 :].rstrip()
    return (
        len(line.split()) >= 8
        and line[-1:].isalpha()
        and line.isascii()
        and re.search(
            r"\b(?:is|are|was|were|shows?|has|have|can|represents?|belongs?|appears?|displays?|depicts?)\b", line
        )
        is not None
    )


def _lacks_designator(words: Words, sentences: list[Sentence]) -> bool:
    """Whether all is said but the letter or number that tells one thing from its likes ("vitamin", "vitamin C" for
    "vitamin A")."""
    if len(words) < 2 or not (len(words[-1]) == 1 or any(char.isdigit() for char in words[-1])):
        return False
    return any(sentence.find((words[:-1],)) for sentence in sentences)


def _deciding(part: Part, sentences: list[Sentence]) -> str:
    for sentence in sentences:
        if sentence.find(part.whole) or any(sentence.find(unit) for unit in part.units):
            return sentence.text[:300]
    return ""


def _state(part: Part, sentences: list[Sentence], asked: frozenset[str]) -> str:
    """asserted, denied, doubted, partly or absent: how the sentences speak of a part of the reference."""
    best = "absent"
    order = {"absent": 0, "partly": 1, "denied": 2, "doubted": 3, "asserted": 4}
    for sentence in sentences:
        state = _state_in(part, sentence, asked)
        if order[state] > order[best]:
            best = state
    if best in ("absent", "partly") and len(part.units) > 1 and len(sentences) > 1:
        found = sum(any(sentence.find(unit) for sentence in sentences) for unit in part.units)
        best = "partly" if found else best
    return best


def _state_in(part: Part, sentence: Sentence, asked: frozenset[str]) -> str:
    places = sentence.find(part.whole) or abbreviated(part, sentence)
    if places:
        return _kind_of_mention(sentence, places)
    found = places_of_units(part, sentence)
    said = [
        places
        for places, unit in zip(found, part.units, strict=True)
        if places or not asked.issuperset(unit[0])  # "left" of a left kidney, where the question says "which kidney"
    ]
    if all(said) and any(found):
        found = said
        states = {_kind_of_mention(sentence, places) for places in found}
        for state in ("denied", "doubted", "asserted"):
            if state in states:
                return state
    return "partly" if any(found) and len(found) > 1 else "absent"


def _kind_of_mention(sentence: Sentence, places: list[int]) -> str:
    if all(sentence.denied[at] for at in places):
        return "denied"
    standing = [at for at in places if not sentence.denied[at]]
    if sentence.doubted and doubts_in_chinese(sentence.text):
        return "doubted"
    if sentence.doubted and any(set(sentence.words[max(0, at - 9) : at + 6]) & _DOUBT_NEAR for at in standing):
        return "doubted"
    if min(standing) >= sentence.side_clause:
        return "doubted"
    return "asserted"


_DOUBT_NEAR = word_set(
    "may might could possible possibly perhaps maybe whether uncertain unclear or differential versus "
    "questionable rule if"
)


def _resembles(parts: tuple[Part, ...], sentences: list[Sentence], question: str) -> bool:
    """Whether a word of the answer begins like one of the reference, or belongs to a name that does."""
    asked = set(words_of(question))
    stems = {
        word[:5]
        for part in parts
        for unit in part.units
        for form in unit
        for word in form
        if len(word) >= 5 and word not in FILLERS and word not in asked
    }
    words = {word for sentence in sentences for word in sentence.words if word not in asked}
    if any(word[:5] in stems for word in words if len(word) >= 5):
        return True
    first = parts[0].whole[0]
    said = sentences[0].words
    short = _CAPITALS.findall(sentences[0].text) if len(said) < 4 else []
    if any(re.match(".*?".join(letters.lower()), " ".join(first)) for letters in short):
        return True
    return (
        len(said) == len(first) == 1
        and (said[0].startswith(first[0]) or first[0].startswith(said[0]))
        and said[0].isalpha()
    )


_CAPITALS = re.compile(r"\b[A-Z]{2,5}\b")


def _says_nothing(sentences: list[Sentence]) -> bool:
    """Whether the sentences only doubt, deny or name nothing."""
    content = [
        word
        for sentence in sentences
        for word, denied in zip(sentence.words, sentence.denied, strict=True)
        if word not in FILLERS and not denied
    ]
    return (not content and any(any(sentence.denied) for sentence in sentences)) or all(
        sentence.doubted for sentence in sentences
    )


__all__ = ["NEEDS_JUDGE", "Verdict", "after_label", "candidates", "grade_open", "value_of"]
