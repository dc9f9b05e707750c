"""Which encoding a text without a mark is in: the one in which its letters are those of a language."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from infimed_plugins.readers.texts import beginning

LOOKED_AT = 4_000_000
"""Bytes of a file that are looked at."""
MOST_FILES = 100
ENOUGH = 200_000
"""Bytes of lines with more than ASCII that say which encoding it is."""
MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюяё"
ALPHABETS = {
    "cp1252": {
        "German": "äöüß", "Spanish": "áéíóúñü¿¡", "French": "éèàùâêîôûëïüçœæ", "Portuguese": "ãõáéíóúâêôàç",
        "Italian": "àèéìòù", "Swedish": "åäöé", "Danish": "æøåé", "Dutch": "ëïéèöü", "Icelandic": "áéíóúýþæðö",
        "Catalan": "àèéíïòóúüç",
    },
    "cp1250": {
        "Polish": "ąćęłńóśźż", "Czech": "áčďéěíňóřšťúůýž", "Hungarian": "áéíóöőúüű", "Slovak": "áäčďéíĺľňóôŕšťúýž",
        "Romanian": "ăâîşţ", "Croatian": "čćđšž",
    },
    "cp1254": {"Turkish": "çğıöşüâîİ"},
    "cp1257": {"Lithuanian": "ąčęėįšųūž", "Latvian": "āčēģīķļņšūž", "Estonian": "äöõüšž"},
    "cp1251": {"Russian": _CYRILLIC, "Ukrainian": _CYRILLIC + "іїєґ"},
    "koi8-r": {"Russian": _CYRILLIC},
    "cp866": {"Russian": _CYRILLIC},
    "cp1253": {"Greek": "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ"},
    "cp850": {"German": "äöüß", "French": "éèàùâêîôûëïç", "Spanish": "áéíóúñü¿¡"},
    "mac-roman": {"German": "äöüß", "French": "éèàùâêîôûëïçœ", "Spanish": "áéíóúñü¿¡"},
}  # fmt: skip
"""Encodings of one byte a letter, the commoner first, and the letters beyond a to z of languages written in them."""
_FREQUENT = {"Russian": "оеаинтсрвл", "Ukrainian": "оаинтвіерс", "Greek": "αοιετσνηυρ"}
"""Letters that make up more than half of a text."""
_SIGNS = frozenset("°±µ²³×÷·•–—…„“”‚‘’«»›‹§№€£©®™½¼¾ºª´`¨\u00a0\u00ad≥≤")
"""Signs beside letters, in any language."""
_PLACED = re.compile(
    r"(?<=[A-Za-z])’(?:s|t|ll|re|ve|d|m)?(?![A-Za-z])|(?<![A-Za-z])(?:[cdjlmnst]|qu)’(?=[A-Za-z])"
    r"|(?<![A-Za-z])[“„‘«](?=\w)|(?<=[\w.,!?])[”’“»](?!\w)|(?<![A-Za-z])[–—](?![A-Za-z])|(?<![A-Za-z])[•±×°µ³²©®™](?![a-z]{3})"
    r"|(?<=\d)[±×°µ³²](?![a-z]{3})|…",
    re.IGNORECASE,
)
"""A sign where it is used, so that it is no letter of another encoding."""
SURE = 0.8
"""Share of the letters beyond a to z that belong to the language, from which on an encoding is taken at all."""
CLOSE = 0.08
"""Difference of two shares within which both are possible."""
NEARLY_ALL = 0.9
"""Share of lines that an encoding can read; a few may be broken."""
_HIGH = re.compile(rb"[\x80-\xff]")


@dataclass(frozen=True)
class Encoding:
    """``name`` is ``None`` for UTF-8, or for what the file's mark says."""

    name: str | None
    also: tuple[str, ...] = ()
    """Others in which the text would make sense as well, and read otherwise."""

    @property
    def doubt(self) -> str:
        """What is to be said of it; "" where it is sure."""
        if self.name is None or not self.also:
            return ""
        return f"{self.name} is a guess, {' or '.join(self.also)} may be right too: look at the letters beyond a to z"


def encoding_of(files: Sequence[Path]) -> Encoding:
    """The encoding of files that are read with one setting; that of most of their lines."""
    lines: list[bytes] = []
    for file in islice(files, MOST_FILES):
        content = beginning(file, LOOKED_AT // min(len(files), MOST_FILES))
        if content.startswith(MARKS):
            continue
        if b"\0" in content[:4096] and (wide := _wide(content)):
            return Encoding(wide)
        lines += [line for line in content.split(b"\n") if not line.isascii()]
    return encoding_of_lines(lines[: 1 + ENOUGH * len(lines) // max(ENOUGH, sum(map(len, lines)))])


def encoding_of_lines(lines: Sequence[bytes]) -> Encoding:
    """The encoding of lines that hold more than ASCII; a few of them may be broken."""
    if not lines or 2 * sum(_is_in(line, "utf-8") for line in lines) >= len(lines):
        return Encoding(None)
    if east := _east_asian(lines):
        return Encoding(east)
    if _are_signs(lines):
        return Encoding("cp1252")
    found = sorted(((_share(lines, name), name) for name in ALPHABETS), key=lambda one: -one[0])
    best, name = found[0]
    if best < SURE:
        others = [other for share, other in found if share > SURE / 2 and other != "cp1252"]
        return Encoding("cp1252", (*others[:3], "another"))
    texts = {other: [line.decode(other, "replace") for line in lines] for share, other in found if best - share < CLOSE}
    names = [other for other in ALPHABETS if other in texts]  # the commoner first
    alike = next((other for other in names if texts[other] == texts[name]), name)
    return Encoding(alike, tuple(other for other in names if texts[other] != texts[alike])[:3])


def _are_signs(lines: Sequence[bytes]) -> bool:
    """Whether nearly all beyond ASCII are signs of Windows where signs stand: It’s, l’aorte, a – b, “normal”."""
    text = "\n".join(line.decode("cp1252") for line in lines if _is_in(line, "cp1252"))
    num_signs = sum(sign > "\x7f" for sign in text)
    return bool(text) and len(_PLACED.findall(text)) >= NEARLY_ALL * max(1, num_signs)


def _share(lines: Sequence[bytes], name: str) -> float:
    """How many of the letters beyond a to z belong to the language that most of them belong to, of 1."""
    whole = [line.decode(name) for line in lines if _is_in(line, name)]
    text = "\n".join(whole)
    counts = Counter(text)
    others = {letter: count for letter, count in counts.items() if letter > "\x7f"}
    total = sum(count for letter, count in others.items() if letter not in _SIGNS or _is_within(text, letter))
    if not total:
        return 0.9 if name == "cp1252" and others else 0.0  # signs alone
    best = max(_share_of(language, letters, others, text) / total for language, letters in ALPHABETS[name].items())
    return best * min(1.0, len(whole) / (NEARLY_ALL * len(lines)))


def _share_of(language: str, letters: str, others: dict[str, int], text: str) -> float:
    own = sum(count for letter, count in others.items() if letter.lower() in letters)
    own -= 2 * sum(_is_swapped(pair) for pair in pairwise(text))
    if language in _FREQUENT:
        frequent = sum(count for letter, count in others.items() if letter.lower() in _FREQUENT[language])
        in_words = sum(map(len, re.findall("[^\x00-\x7f\\W]{2,}", text)))
        if own <= 0 or frequent / own < 0.45 or in_words < 0.8 * own:
            return 0.0
    elif own and _most_in_a_row(text) > 3:
        return 0.0  # a script of its own, read as letters with accents
    return own


def _is_swapped(pair: tuple[str, str]) -> bool:
    """Whether a small letter is followed by a capital beyond a to z, as where small and capital are exchanged."""
    return pair[0].islower() and pair[1] > "\x7f" and pair[1].isupper()


def _is_within(text: str, sign: str) -> bool:
    """Whether a sign stands between small letters as often as not, where it is no sign."""
    found = re.findall(f"(.?){re.escape(sign)}(.?)", text)
    within = sum(before.islower() and after.islower() for before, after in found)
    return sign not in "’´`\u00ad·" and 2 * within > len(found)


def _most_in_a_row(text: str) -> int:
    """The longest row of letters beyond a to z that is common: a tenth of all rows are as long."""
    rows = sorted(map(len, re.findall("[^\x00-\x7f\\W]+", text)), reverse=True)
    return rows[len(rows) // 10] if rows else 0


def _east_asian(lines: Sequence[bytes]) -> str | None:
    """The encoding of Chinese, Japanese or Korean, where the lines hold words in it."""
    whole = b"\n".join(lines)
    num_high = len(_HIGH.findall(whole))
    pairs = Counter(_pairs(whole))
    both = {pair: count for pair, count in pairs.items() if pair[1] >= 0xA1}
    num_both = sum(both.values()) or 1
    # Kana is in every Japanese sentence; cp932 writes it from 0x82 and 0x83, EUC-JP from 0xA4 and 0xA5.
    kana = len(re.findall(rb"\x82[\x9f-\xf1]|\x83[\x40-\x96]", whole))
    if kana * 8 > num_high and _are_in(lines, "cp932"):
        return "cp932"
    if 2 * num_both < 0.6 * num_high:
        return "big5" if _is_big5(whole, num_high) and _are_in(lines, "big5") else None
    kana = sum(count for pair, count in both.items() if pair[0] in (0xA4, 0xA5))
    if kana * 5 > num_both and _are_in(lines, "euc_jp"):
        return "euc_jp"
    first = {pair: count for pair, count in both.items() if 0xB0 <= pair[0] <= 0xD7}
    level = sum(first.values()) / (sum(count for pair, count in both.items() if pair[0] >= 0xB0) or 1)
    hangul = sum(count for pair, count in first.items() if pair[0] <= 0xC8)
    if level < 0.8:
        return "big5" if _is_big5(whole, num_high) and _are_in(lines, "big5") else None
    if _is_big5(whole, num_high) and _seconds_in_ascii(pairs) > 0.2 and _are_in(lines, "big5"):
        return "big5"
    if hangul >= 0.95 * (sum(first.values()) or 1) and _are_in(lines, "cp949"):
        return "cp949"
    capitals = all(0xC0 <= byte <= 0xDF for pair in first for byte in pair)  # of Cyrillic or Greek
    return "gb18030" if not capitals and _are_in(lines, "gb18030") else None


def _pairs(whole: bytes) -> Iterable[tuple[int, int]]:
    """Bytes two and two from each high one on, as encodings of two bytes take them."""
    at = 0
    while at < len(whole) - 1:
        if whole[at] < 0x81:
            at += 1
            continue
        yield whole[at], whole[at + 1]
        at += 2


def _seconds_in_ascii(pairs: Counter[tuple[int, int]]) -> float:
    return sum(count for pair, count in pairs.items() if pair[1] < 0x80) / (sum(pairs.values()) or 1)


def _is_big5(whole: bytes, num_high: int) -> bool:
    """Whether most of it is common traditional Chinese: from 0xA4 to 0xC6, second bytes in two ranges."""
    found = re.findall(rb"[\xa4-\xc6][\x40-\x7e\xa1-\xfe]|\xa1[\x40-\x7e\xa1-\xfe]", whole)
    in_ascii = sum(pair[1] < 0x80 for pair in found)
    num_bytes = 2 * len(found) - in_ascii
    return len(found) > 3 and num_bytes > 0.8 * num_high and 0.2 < in_ascii / len(found) < 0.7 and _has_rows(whole)


def _has_rows(whole: bytes) -> bool:
    """Whether high bytes stand in rows of words, not each alone among letters."""
    return max(map(len, re.findall(rb"(?:[\xa1-\xf9][\x40-\x7e\xa1-\xfe])+", whole)), default=0) >= 8


def _wide(content: bytes) -> str | None:
    """UTF-16 without its mark, by the places of its zeros."""
    head = content[: 2**16]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if even + odd < len(head) / 50 or min(even, odd) > max(even, odd) / 10:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _are_in(lines: Sequence[bytes], encoding: str) -> bool:
    """Whether nearly all lines are; a byte may be broken."""
    return sum(_is_in(line, encoding) for line in lines) >= NEARLY_ALL * len(lines)


def _is_in(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
