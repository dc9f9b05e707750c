"""Fingerprints of texts: an exact one, word n-grams, and MinHash bands for near-duplicates."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from infimed_core import Sample

SHINGLE = 3
NUM_BANDS = 16
BAND_ROWS = 4


@cache
def _factors() -> NDArray[np.uint64]:
    return np.random.default_rng(1).integers(1, 2**63, 64, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


@cache
def _seeds() -> NDArray[np.uint64]:
    return np.random.default_rng(2).integers(0, 2**63, NUM_BANDS * BAND_ROWS, dtype=np.uint64)


def text_of(sample: Sample) -> str:
    """All turns and options of a sample, one a line."""
    return "\n".join((*(turn.text for turn in sample.turns), *sample.options))


@cache
def _word() -> re.Pattern[str]:
    """A word; scripts that are written without spaces count by the character."""
    return re.compile(r"[぀-ヿ㐀-鿿가-힯]|[^\W_぀-ヿ㐀-鿿가-힯]+")


def words_of(text: str) -> list[str]:
    """Words in lower case, without punctuation, after NFKC."""
    return _word().findall(unicodedata.normalize("NFKC", text).lower())


def exact_print(text: str) -> bytes:
    """16 bytes that are equal for texts that differ only in case, white space and Unicode form."""
    folded = " ".join(unicodedata.normalize("NFKC", text).lower().split())
    return hashlib.blake2b(folded.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@lru_cache(maxsize=1 << 18)
def _word_hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64: every bit of the input moves every bit of the output."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def ngrams(words: list[str], length: int) -> NDArray[np.uint64]:
    """64-bit hashes of the distinct runs of ``length`` words, sorted; none where there are fewer words."""
    if len(words) < length:
        return np.zeros(0, dtype=np.uint64)
    hashes = np.fromiter(map(_word_hash, words), dtype=np.uint64, count=len(words))
    windows = np.lib.stride_tricks.sliding_window_view(hashes, length)
    return np.unique(_mixed((windows * _factors()[:length]).sum(axis=1, dtype=np.uint64)))


def bands(words: list[str]) -> NDArray[np.uint64]:
    """MinHash bands (Broder 1997) of the word triples, uint64 [16]; texts with an equal band are worth comparing.

    16 bands of 4 rows: of texts with a Jaccard similarity of 0.8, 99.98% share a band; of 0.3, 12%.
    """
    grams = ngrams(words, min(SHINGLE, max(1, len(words))))
    if not len(grams):
        return np.zeros(0, dtype=np.uint64)
    least = _mixed(grams[:, None] ^ _seeds()[None, :]).min(axis=0).reshape(NUM_BANDS, BAND_ROWS)
    keys = (least * _factors()[:BAND_ROWS]).sum(axis=1, dtype=np.uint64)
    return _mixed(keys + np.arange(NUM_BANDS, dtype=np.uint64))


def similarity(left: list[str], right: list[str]) -> float:
    """Jaccard similarity of the word triples of two texts, in [0, 1]."""
    length = min(SHINGLE, max(1, min(len(left), len(right))))
    one, two = ngrams(left, length), ngrams(right, length)
    if not len(one) or not len(two):
        return float(left == right)
    shared = len(np.intersect1d(one, two, assume_unique=True))
    return shared / (len(one) + len(two) - shared)
