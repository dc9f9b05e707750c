"""In which language a text is written, as far as its script and its commonest words tell."""

from __future__ import annotations

import unicodedata
from collections import Counter

from infimed_plugins.reasoning.rationales import words

COMMON = {
    "en": "the of and to in is that it as are with this which not be on for by at from there so has both more than",
    "de": "der die das und ist in zu den mit von nicht ein eine auf dem sich es im als auch an werden aus bei sind",
    "fr": "le la les de des et est un une dans en que qui pas sur pour avec par ce cette du au aux plus il sont",
    "es": "el la los las de y es en un una que no por con para se del al como más su este esta son lo",
    "it": "il la lo gli le di e è un una in che non per con del della si come più sono questo nel alla da",
    "pt": "o a os as de e é um uma em que não por com para se do da no na como mais são este esta",
    "nl": "de het een en is van in niet dat op te met voor zijn aan er die deze bij als ook naar uit wordt",
}
"""The commonest words of languages with Latin letters."""
_COMMON = {name: frozenset(text.split()) for name, text in COMMON.items()}
SCRIPTS = {
    "zh": "CJK", "ja": "HIRAGANA", "ko": "HANGUL", "ru": "CYRILLIC", "uk": "CYRILLIC", "el": "GREEK", "ar": "ARABIC",
    "fa": "ARABIC", "he": "HEBREW", "hi": "DEVANAGARI", "th": "THAI",
}  # fmt: skip
LEAST_SCRIPT = 0.6
"""Share of a text's letters that are of its own script, from which on it counts as written in it."""
LEAST_WORDS = 8
"""Fewer words tell the script and not the language."""


def written_in(text: str, language: str) -> bool:
    """Whether a text may be in ``language`` (``en``, ``zh-CN``); ``True`` for a language that is not known here."""
    language = language.casefold().replace("_", "-").split("-")[0]
    letters = Counter(unicodedata.name(letter, "?").split()[0] for letter in text if letter.isalpha())
    total = letters.total()
    if not total:
        return True
    if language in SCRIPTS:
        own = letters[SCRIPTS[language]] + (letters["KATAKANA"] + letters["CJK"] if language == "ja" else 0)
        foreign = letters["HIRAGANA"] + letters["KATAKANA"] if language == "zh" else 0
        # terms of medicine are Latin in every language
        return own >= (LEAST_SCRIPT / 2) * total and foreign <= 0.05 * total
    if language not in _COMMON:
        return True
    if letters["LATIN"] < 0.9 * total:
        return False
    said = words(text)
    if len(said) < LEAST_WORDS:
        return True
    share = {name: sum(word in common for word in said) / len(said) for name, common in _COMMON.items()}
    return share[language] >= 0.7 * max(share.values())
