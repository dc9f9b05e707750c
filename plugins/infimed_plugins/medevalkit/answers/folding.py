"""Characters that look alike become one; signs that mean something stay."""

from __future__ import annotations

import re
import unicodedata

_PAIRS = {
    # hyphens, dashes and the minus sign
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63", "-"),
    # quotation marks
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u0060\u00b4", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u300c\u300d\u300e\u300f\u300a\u300b\u00ab\u00bb", '"'),
    # brackets and stops of Chinese and Japanese text
    **dict.fromkeys("\u3010\u3014\u3016", "["),
    **dict.fromkeys("\u3011\u3015\u3017", "]"),
    "\u3002": "。",
    "\uff61": "。",
    "\u2026": "...",
    # spaces
    **dict.fromkeys(
        "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000\t\v\f", " "
    ),
    **dict.fromkeys("\u0085\u2028\u2029", "\n"),
    # nothing: zero width, byte order, direction, soft hyphen
    **dict.fromkeys(
        "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", ""
    ),
}
_TABLE: dict[int, str] = {ord(char): folded for char, folded in _PAIRS.items()}
_TABLE |= {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full width
_TABLE |= dict.fromkeys(range(57344, 63744), "")  # private use: our own marks
# letters in mathematical fonts, in circles and in brackets
_TABLE |= {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0x1D400, 0x1D800)}
_TABLE |= {0x24B6 + index: chr(ord("A") + index) for index in range(26)}
_TABLE |= {0x24D0 + index: chr(ord("a") + index) for index in range(26)}
_TABLE |= {0x249C + index: f"({chr(ord('a') + index)})" for index in range(26)}
_TABLE |= {0x1F110 + index: f"({chr(ord('A') + index)})" for index in range(26)}
_TABLE |= {0x1F130 + index: chr(ord("A") + index) for index in range(26)}
_TABLE |= {0x1F150 + index: chr(ord("A") + index) for index in range(26)}
_TABLE |= {0x1F170 + index: chr(ord("A") + index) for index in range(26)}

_WRITTEN_BREAK = re.compile(r"\\n(?=\\n|\s|$|[A-Z])")  # a line break that was written out, and no TeX
_SPACES = re.compile(r"  +")


def fold(text: str) -> str:
    """The text with look-alikes folded, runs of spaces made one, and no space at the ends of lines."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).translate(_TABLE)
    elif "\t" in text or "\v" in text or "\f" in text or "`" in text:
        text = text.translate({9: " ", 11: " ", 12: " "})
    if "\\n" in text:
        text = _WRITTEN_BREAK.sub("\n", text)
    if "  " in text:
        text = _SPACES.sub(" ", text)
    if "\n" in text or "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace(" \n", "\n").replace("\n ", "\n")
    return text.strip()
