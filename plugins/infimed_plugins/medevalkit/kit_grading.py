"""MedEvalKit's graders at commit 9b12e3b, bug for bug: what its published numbers were made with."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from infimed_plugins.medevalkit.kit_text import KitError, extract, open_box_or_tag, parse_response
from infimed_plugins.medevalkit.overlap import bleu, bleu_tokens, rouge

OPEN_KEYS = ("em", "bleu1", "bleu2", "bleu3", "bleu4", "rouge1", "rouge2", "rougel", "precision", "recall", "f1")


_LETTERS = list("abcdefghijklmnopqrstuvwxyz")


def choice(options: Sequence[str], gold: str, response: str | None) -> bool:
    """Whether a multiple-choice response counts as right. There is no "cannot be read": something always matches.

    Raises:
        KitError: no response (a failed call).
    """
    if response is None:
        raise KitError("AttributeError: 'NoneType' object has no attribute 'lower'")
    letters = _LETTERS[: len(options)] if len(options) <= 26 else [chr(ord("a") + at) for at in range(len(options))]
    texts = tuple(map(str.lower, options))
    gold = gold.lower().strip()
    text = response.lower()
    paragraphs = text.split("\n\n")
    if paragraphs[0] in letters:
        text = paragraphs[0]
    elif (last := paragraphs[-1].split(".")[0]) in letters:
        text = last
    text = parse_response(text).strip().lower().replace("\n", "")
    short = text.split(".")[0].split(":")[-1]
    if short == gold:
        return True
    if short in letters:
        return texts[letters.index(short)] == gold
    if short in texts:
        return gold in letters and texts[letters.index(gold)] == short
    index = most_similar(texts, text)
    return gold in (letters[index], texts[index])


@lru_cache(maxsize=65536)
def most_similar(options: tuple[str, ...], text: str) -> int:
    """The first option with the highest ``SequenceMatcher`` ratio; option 0 where none is above zero."""
    best, best_index = 0.0, 0
    bounds = []
    for index, option in enumerate(options):
        total = len(option) + len(text)
        shared = min(sum(map(text.__contains__, option)), len(text))  # no more characters can match
        bounds.append((-2.0 * shared / total if total else -1.0, index))
    for bound, index in sorted(bounds):
        if -bound < best:
            break
        ratio = _ratio(options[index], text)
        if ratio > best or (ratio == best and ratio and index < best_index):
            best, best_index = ratio, index
    return best_index


def _ratio(option: str, text: str) -> float:
    """``SequenceMatcher(None, option, text).ratio()``, for short texts by the search of strings."""
    if len(text) >= 200:  # from here on SequenceMatcher leaves frequent characters out
        return SequenceMatcher(None, option, text).ratio()
    total = len(option) + len(text)
    return 2.0 * _matches(option, text) / total if total else 1.0


def _matches(option: str, text: str) -> int:
    """Characters in matching blocks: the longest common run (the first of them), then left and right of it."""
    size = place = 0
    for start in range(len(option)):
        if start + size >= len(option):
            break
        if option[start : start + size + 1] in text:
            size, place = size + 1, start
            while start + size < len(option) and option[start : start + size + 1] in text:
                size += 1
    if not size:
        return 0
    at = text.find(option[place : place + size])
    left = _matches(option[:place], text[:at]) if place and at else 0
    option, text = option[place + size :], text[at + size :]
    return left + size + (_matches(option, text) if option and text else 0)


def extracted_choice(options: Sequence[str], gold: str, response: str | None) -> bool:
    """As ``choice`` after taking the tags out, which turns a failed call into an empty response, read as option A."""
    return choice(options, gold, extract(response))


def judgement(gold: str, response: str | None) -> bool:
    """Whether a yes/no response counts as right: exactly one of the substrings occurs, and it is the gold."""
    text = parse_response(_present(response)).replace("\n", "").replace(".", "")
    return ("yes" in text) != ("no" in text) and gold.lower() in text


def closed(gold: str, response: str | None) -> bool:
    """Whether a closed answer is equal once lower-cased, without line breaks and full stops; nothing is stripped."""
    return parse_response(_present(response)).replace("\n", "").replace(".", "") == gold.lower()


def open_answer(gold: str, response: str | None) -> dict[str, float]:
    """The measures of an open answer under the kit's names, of which three are rotated.

    ``precision`` holds F1, ``recall`` holds precision, ``f1`` holds recall.

    Raises:
        KitError: what the kit cannot measure (empty, a lone full stop, blank).
    """
    gold = gold.lower()
    text = parse_response(_present(response))
    scores = bleu(bleu_tokens(gold), bleu_tokens(text))
    try:
        rouges = rouge(gold, text)
    except ValueError as error:
        raise KitError(f"ValueError: {error}") from error
    precision, recall, f1 = token_sets(gold, text)
    values = (float(text == gold), *scores, *rouges, f1, precision, recall)
    return dict(zip(OPEN_KEYS, values, strict=True))


def token_sets(gold: str, text: str) -> tuple[float, float, float]:
    """Precision, recall and F1 over the sets of blank-separated words.

    Raises:
        KitError: no word on one side.
    """
    wanted, guessed = set(gold.lower().split()), set(text.lower().split())
    if not wanted or not guessed:
        raise KitError("TypeError: cannot unpack non-iterable int object")
    shared = len(wanted & guessed)
    if not shared:
        return 0.0, 0.0, 0.0
    precision, recall = shared / len(guessed), shared / len(wanted)
    return precision, recall, 2 * precision * recall / (precision + recall)


def prepare_visual(response: str | None, fold: bool) -> str:
    """What VQA_RAD and PATH_VQA (``fold``: lower-cased and stripped) and SLAKE do before grading."""
    text = open_box_or_tag(_present(response))
    return text.lower().strip() if fold else text


def _present(response: str | None) -> str:
    if response is None:
        raise KitError("AttributeError: 'NoneType' object has no attribute 'lower'")
    return response
