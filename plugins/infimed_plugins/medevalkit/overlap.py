"""Word overlap of two texts as nltk's sentence_bleu and the rouge package count it."""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

Measures = dict[str, float]


def bleu_tokens(text: str) -> list[str]:
    """Lower-case words split at single spaces, full stops set apart; empty words stay, as in MedEvalKit."""
    return text.lower().replace(".", " .").split(" ")


def bleu(reference: Sequence[str], hypothesis: Sequence[str], max_order: int = 4) -> list[float]:
    """Sentence BLEU-1 to BLEU-``max_order`` (Papineni 2002), uniform weights, one reference, no smoothing.

    As in nltk, an order without a match counts as the smallest positive float and not as zero, while a hypothesis
    without a single matching word scores 0.
    """
    matches = [0] * max_order
    for order in range(1, max_order + 1):
        matches[order - 1] = _shared(reference, hypothesis, order)
        if not matches[order - 1]:
            break  # what shares no run of words shares no longer one
    return list(_bleu(tuple(matches), len(reference), len(hypothesis)))


def _shared(reference: Sequence[str], hypothesis: Sequence[str], order: int) -> int:
    """How many runs of ``order`` words the hypothesis has from the reference, each as often as both have it."""
    if min(len(reference), len(hypothesis)) < order:
        return 0
    wanted: dict[object, int] = {}
    for gram in _grams(reference, order):
        wanted[gram] = wanted.get(gram, 0) + 1
    shared = 0
    for gram in _grams(hypothesis, order):
        if left := wanted.get(gram):
            wanted[gram] = left - 1
            shared += 1
    return shared


def _grams(words: Sequence[str], order: int) -> Iterable[object]:
    return words if order == 1 else zip(*(words[start:] for start in range(order)), strict=False)


@lru_cache(maxsize=65536)
def _bleu(matches: tuple[int, ...], num_wanted: int, num_guessed: int) -> tuple[float, ...]:
    if not matches[0]:
        return (0.0,) * len(matches)
    penalty = 1.0 if num_guessed > num_wanted else math.exp(1 - num_wanted / num_guessed)
    logs = [
        math.log(match / max(1, num_guessed - order)) if match else math.log(sys.float_info.min)
        for order, match in enumerate(matches)
    ]
    return tuple(
        penalty * math.exp(math.fsum(log / order for log in logs[:order])) for order in range(1, len(matches) + 1)
    )


def rouge(reference: str, hypothesis: str) -> tuple[float, float, float]:
    """F of ROUGE-1, ROUGE-2 and summary-level ROUGE-L (Lin 2004) over sets of words, as in rouge 1.0.1.

    Sentences are what stands between full stops.

    Raises:
        ValueError: a text has no sentence ("Hypothesis is empty." or "Reference is empty.").
    """
    guessed, wanted = _sentences(hypothesis), _sentences(reference)
    if not guessed:
        raise ValueError("Hypothesis is empty.")
    if not wanted:
        raise ValueError("Reference is empty.")
    guessed_words = [word for sentence in guessed for word in sentence]
    wanted_words = [word for sentence in wanted for word in sentence]
    left, right = set(guessed_words), set(wanted_words)
    if not left & right:
        return 0.0, 0.0, 0.0
    pairs = set(itertools.pairwise(guessed_words))
    wanted_pairs = set(itertools.pairwise(wanted_words))
    union: set[str] = set()
    for words in wanted:
        for others in guessed:
            union |= _longest_common(words, others)
    return (
        _f(len(left & right), len(left), len(right)),
        _f(len(pairs & wanted_pairs), len(pairs), len(wanted_pairs)),
        _f(len(union), len(left), len(right)),
    )


def _sentences(text: str) -> list[list[str]]:
    return [" ".join(part.split()).split(" ") for part in text.split(".") if part]


def _f(matches: int, num_guessed: int, num_wanted: int) -> float:
    precision = matches / num_guessed if num_guessed else 0.0
    recall = matches / num_wanted if num_wanted else 0.0
    return 2.0 * ((precision * recall) / (precision + recall + 1e-8))


def _longest_common(wanted: Sequence[str], guessed: Sequence[str]) -> set[str]:
    """The words of one longest common subsequence; of several, the one that walks back along ``guessed`` first."""
    if len(guessed) == 1:
        return {guessed[0]} & set(wanted)
    table = [[0] * (len(guessed) + 1) for _ in range(len(wanted) + 1)]
    for row, word in enumerate(wanted, 1):
        above, here = table[row - 1], table[row]
        for column, other in enumerate(guessed, 1):
            here[column] = above[column - 1] + 1 if word == other else max(above[column], here[column - 1])
    words = set()
    row, column = len(wanted), len(guessed)
    while row and column:
        if wanted[row - 1] == guessed[column - 1]:
            words.add(wanted[row - 1])
            row, column = row - 1, column - 1
        elif table[row - 1][column] > table[row][column - 1]:
            row -= 1
        else:
            column -= 1
    return words


def token_overlap(reference: Counter[str], hypothesis: Counter[str]) -> Measures:
    """Precision, recall and F1 of words counted with their repeats; zeros where nothing is shared."""
    shared = sum((reference & hypothesis).values())
    if not shared:
        return {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    precision, recall = shared / sum(hypothesis.values()), shared / sum(reference.values())
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall)}
