"""Which texts are in a language that the rules for text know nothing of."""

from __future__ import annotations

import re
from functools import lru_cache

from infimed_plugins.quality.remembered import Remembered
from infimed_plugins.quality.texts import Texts, listed

_LETTERS = re.compile(r"[^\W\d_]")
_OTHER_SCRIPT = re.compile(
    "[\u0370-\u03ff\u0400-\u052f\u0530-\u058f\u0590-\u06ff\u0900-\u0dff\u0e00-\u0eff\u10a0-\u10ff\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)
_ENGLISH = listed(
    "the of and in is are with to no there this that for on at was were by from a an or not be has have which "
    "what how does shows show seen left right normal it as he she his her after without"
)
_OTHERS = listed(
    "de la el en los las que una un con por del se es su sin para al como más muestra imagen le les des est une "
    "dans du et avec au aux sur sans ce cette der die und das mit ist eine einer nicht im ein den dem auf von zu "
    "keine bei il lo gli che di per è nel della uma com não em na dos os het een van met niet op zijn och att som "
    "på med av för inte ve bir ile için jest się derecho derecha izquierdo izquierda droit droite gauche rechts "
    "links rechten linken rechte linke destro destra sinistro sinistra direito direita esquerdo esquerda rechter "
    "linker höger vänster sağ sol tórax torace lunge lungen poumon poumons pulmón pulmones pulmão pulmões polmone "
    "polmoni herz cœur corazón cuore coração lobo lóbulo inferiore superiore supérieur inférieur keine kein ohne "
    "sin sem senza sans grafisinde"
)
"""Small words of other European languages, and those for sides and for what a chest film shows; none is English."""
_STRONG = listed("the of and with is are was were there this that has shows from")
"""Words that only an English text has."""
_WORD = re.compile(r"[^\W\d_]+")
LEAST_OTHERS = 2
"""Small words of other languages in a text that is in one."""
_num_others = Remembered(lambda piece: sum(word.lower() in _OTHERS for word in _WORD.findall(piece)))


@lru_cache(maxsize=1 << 12)
def _is_foreign(text: str) -> bool:
    if not text.isascii():
        letters = len(_LETTERS.findall(text))
        if letters and len(_OTHER_SCRIPT.findall(text)) > 0.3 * letters:
            return True
    elif sum(map(_num_others.__getitem__, text.split())) < LEAST_OTHERS:
        return False
    words = [word.lower() for word in _WORD.findall(text)]
    if not text.isascii() and _has_other_letters(text, words):
        return True
    others = sum(word in _OTHERS for word in words)
    if others < LEAST_OTHERS:
        return False
    return others > sum(word in _ENGLISH for word in words) and others >= 0.12 * len(words)


def _has_other_letters(text: str, words: list[str]) -> bool:
    """Whether a fifth of the words have letters that English does not, beside hardly a small word of English."""
    accented = sum(not word.isascii() for word in words)
    if len(words) < 4 or accented < 2 or accented < 0.2 * len(words) or any(word in _STRONG for word in words):
        return False
    from ftfy.badness import badness

    return not badness(text)  # a broken encoding is no language


def language_of(texts: Texts) -> str | None:
    """A word for the language of the answers where the rules do not know it (the tag's, else ``other``), else ``None``.

    By the script, or by small words of other European languages; a short text in Latin letters is taken for English
    unless the tag ``language`` says otherwise.
    """
    told = texts.language.lower().split("-")[0]
    if told and told not in ("en", "eng", "english", "unlabelled", "unknown"):
        return told
    return "other" if _is_foreign(texts.answer) else None
