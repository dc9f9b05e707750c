"""Questions that name their own answers ("left or right?"): the alternatives are the options of a choice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from infimed_plugins.medevalkit.answers.equality import key, key_of_plain
from infimed_plugins.medevalkit.answers.open_answers import NEEDS_JUDGE, Verdict, candidates
from infimed_plugins.medevalkit.answers.prepared import prepare
from infimed_plugins.medevalkit.answers.refusals import is_refusal
from infimed_plugins.medevalkit.answers.sentences import Sentence, read_sentences
from infimed_plugins.medevalkit.answers.vocabulary import same_as, value_of, words_of
from infimed_plugins.medevalkit.answers.words import word_set

_SMALL = word_set("the a an in on at of to is are was were it this that with by from more be there as")
_HEADS = word_set("image scan view plane side picture section film x-ray xray radiograph weighted mri")
_COMPARED = re.compile(r"\b(?:than|compared (?:to|with)|relative to|versus|vs)\b", re.IGNORECASE)
_WHETHER = re.compile(r"\bwhether\b|\bor\b|\beither\b", re.IGNORECASE)


@lru_cache(maxsize=8192)
def alternatives(question: str) -> tuple[str, ...]:
    """The answers that a question names, two or more, or none: what stands on either side of "or" at its end."""
    found = re.search(r"([^.?!\n]*?)\bor\b([^.?!\n]*)\?", question, re.IGNORECASE)
    if found is None:
        return _chinese(question)
    right = _bare(found[2])
    if not right or len(right) > 5 or right[0] in ("not", "no"):
        return ()
    before = found[1]
    listed = [part for part in re.split(r"[,:]", before) if part.strip()]
    if listed and re.search(r"[,:]", before):
        tail = [_bare(part) for part in listed[1:]] if len(listed) > 1 else [_bare(listed[0])]
        if all(part and len(part) <= 5 for part in tail) and re.search(r"[,:]\s*[^,:]*$", before.rstrip()):
            names = [*tail, right]
            if len(listed) > 2:
                names = (
                    [_last_run(listed[0], len(tail[0])), *names]
                    if not re.match(
                        r"\s*(?:which|what|is|are|how)\b[^,]*\b(?:in|on|is|of)?\s*$", listed[0], re.IGNORECASE
                    )
                    and not re.search(r"[:?]", question[: question.find(listed[0]) + len(listed[0]) + 1])
                    and _looks_listed(listed[0])
                    else names
                )
            return _distinct(names)
    left = _last_run(before, len(_words(found[2])))
    if right[-1] in _HEADS and len(right) > 1 and left and left[-1] != right[-1]:
        right = right[:-1]
        left = left[-len(right) :]
    return _distinct([left, right])


def _chinese(question: str) -> tuple[str, ...]:
    found = re.search(
        r"(?:是|在|为)?([\u3400-\u9fffA-Za-z0-9]{1,8})还是([\u3400-\u9fffA-Za-z0-9]{1,8}?)(?:[侧边]?[呢吗]?[??])",
        question,
    )
    if found is None:
        return ()
    left = re.split(r"是|在|为|位于", found[1])[-1]
    return (left, found[2]) if left and left != found[2] else ()


def _looks_listed(first: str) -> bool:
    return len(first.split()) > 2


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text.lower())


def _bare(text: str) -> list[str]:
    words = _words(text)
    while words and words[0] in _SMALL:
        words.pop(0)
    return words


def _last_run(text: str, size: int) -> list[str]:
    words = _words(text)
    run = words[-max(1, size) :]
    while run and run[0] in _SMALL:
        run.pop(0)
    if not run and words:
        run = words[-1:]
    return run


def _distinct(names: Sequence[Sequence[str]]) -> tuple[str, ...]:
    last = names[-1]
    kind = value_of(tuple(last[:1])) if len(last) > 1 else None
    if kind is not None:  # "the left or right ventricle"
        names = [
            [*name, *last[1:]] if len(name) == 1 and (value_of(tuple(name)) or ("",))[0] == kind[0] else name
            for name in names
        ]
    texts = [" ".join(name) for name in names if name]
    return tuple(texts) if len(texts) > 1 and len(set(texts)) == len(texts) else ()


_GROUPS = (
    (word_set("larger bigger greater"), word_set("smaller")),
    (word_set("brighter lighter"), word_set("darker")),
    (word_set("higher"), word_set("lower")),
    (word_set("thicker"), word_set("thinner")),
    (word_set("longer"), word_set("shorter")),
    (word_set("wider broader"), word_set("narrower")),
    (word_set("more"), word_set("less fewer")),
    (word_set("better"), word_set("worse")),
    (word_set("older"), word_set("younger")),
)
"""Comparatives and their opposites."""


def _turned(sentence: Sentence, question: str) -> bool:
    """Whether a sentence compares the other way round than the question ("smaller?", "the left is larger than ...")."""
    asked, said = set(words_of(question)), set(sentence.words)
    if {"less", "fewer"} & said and not {"less", "fewer", "smaller", "lower"} & asked:
        return True
    return any(
        (one & asked and other & said and not one & said) or (other & asked and one & said and not other & said)
        for one, other in _GROUPS
    )


def grade_alternatives(
    gold: str, response: str | None, named: Sequence[str], ended: str | None = None, question: str = ""
) -> Verdict | None:
    """The verdict where the answer asserts one alternative; ``None`` where the reference is none of them."""
    prepared = prepare(response, ended)
    if prepared.reason:
        return Verdict(None, prepared.reason)
    wanted = key(gold)
    for text in candidates(prepared.text, prepared.marks):
        if key_of_plain(text) == wanted:
            return Verdict(True, read=text[:200], statement=text[:300])
    forms = [same_as(tuple(words_of(name))) for name in named]
    own = [
        index
        for index, form in enumerate(forms)
        if key(named[index]) == wanted or set(same_as(tuple(words_of(gold)))) & set(form)
    ]
    if len(own) != 1:
        return None
    if is_refusal(prepared.whole):
        return Verdict(None, "refusal")
    said: dict[int, str] = {}
    for sentence in read_sentences(prepared.whole):
        if sentence.asked:
            continue
        for index in _asserted(sentence, forms, _turned(sentence, question)):
            said.setdefault(index, sentence.text)
    if len(said) == 1:
        index, statement = next(iter(said.items()))
        return Verdict(index == own[0], read=named[index], statement=statement[:300])
    if prepared.cut:
        return Verdict(None, "truncated")
    return Verdict(None, "several_answers" if said else NEEDS_JUDGE)


def _asserted(sentence: Sentence, forms: Sequence[tuple[tuple[str, ...], ...]], turned: bool = False) -> list[int]:
    """The alternatives that a sentence asserts: not denied, not the lesser side of a comparison, not merely
    repeated."""
    cut = _COMPARED.search(sentence.text)
    limit = len(words_of(sentence.text[: cut.start()])) if cut else 10**6
    least, limit = (limit, 10**6) if turned and cut else (0, limit)
    found = []
    for index, form in enumerate(forms):
        places = sentence.find(form)
        standing = [at for at in places if not sentence.denied[at] and least <= at < limit]
        if standing:
            found.append(index)
    if len(found) > 1:
        longest = [
            index
            for index in found
            if not any(_inside(forms[index][0], forms[other][0]) for other in found if other != index)
        ]
        found = longest
        if len(found) > 1 and _WHETHER.search(sentence.text):
            return []
    if sentence.doubted and _WHETHER.search(sentence.text):
        return []
    return found


def _inside(short: tuple[str, ...], longer: tuple[str, ...]) -> bool:
    return short != longer and any(longer[at : at + len(short)] == short for at in range(len(longer) - len(short) + 1))
