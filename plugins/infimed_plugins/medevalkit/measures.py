"""How near an open answer comes to its reference: equality, overlap of words, BLEU, ROUGE."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

from infimed_plugins.medevalkit.answers.equality import key as answer_key
from infimed_plugins.medevalkit.answers.equality import key_of_plain
from infimed_plugins.medevalkit.answers.open_answers import candidates
from infimed_plugins.medevalkit.answers.prepared import prepare
from infimed_plugins.medevalkit.overlap import bleu, rouge, token_overlap


def tokens(text: str) -> list[str]:
    """Words of a normalised text; every Chinese character is one."""
    return re.findall(r"[\u3400-\u9fff]|[^\s\u3400-\u9fff]+", text)


def open_measures(gold: str, response: str | None, ended: str | None = None) -> dict[str, float]:
    """Exact match, token precision, recall and F1 (repeats counted), BLEU and ROUGE of normalised words.

    ``recall`` is LLaVA-Med's measure of open answers (token recall), ``f1`` is MedGemma's (tokenized F1). Chinese is
    taken character by character. All zero where there is no answer. BLEU of orders longer than the shorter text is
    left as nltk counts it (about zero).
    """
    wanted = answer_key(gold)
    prepared = prepare(response, ended)
    texts = [] if prepared.reason else [key_of_plain(text) for text in candidates(prepared.text, prepared.marks)]
    given = wanted if wanted in texts else texts[-1] if texts else ""
    if given == wanted and given:
        return dict(_equal(len(tokens(given))))
    ours, theirs = tokens(given), tokens(wanted)
    values = {"em": float(bool(given) and given == wanted)}
    values |= token_overlap(Counter(theirs), Counter(ours))
    values |= dict(zip(("bleu1", "bleu2", "bleu3", "bleu4"), bleu(theirs, ours), strict=True))
    try:
        rouges = rouge(" ".join(theirs), " ".join(ours))
    except ValueError:
        rouges = (0.0, 0.0, 0.0)
    return values | dict(zip(("rouge1", "rouge2", "rougel"), rouges, strict=True))


@lru_cache(maxsize=512)
def _equal(num_words: int) -> dict[str, float]:
    words = [str(number) for number in range(num_words)]
    rouges = rouge(" ".join(words), " ".join(words))
    values = {"em": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0}
    values |= dict(zip(("bleu1", "bleu2", "bleu3", "bleu4"), bleu(words, words), strict=True))
    return values | dict(zip(("rouge1", "rouge2", "rougel"), rouges, strict=True))
