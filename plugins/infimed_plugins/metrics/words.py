"""Texts as words, the same way for every metric that counts words."""

from __future__ import annotations

import re


def words(text: str) -> list[str]:
    """Lower-case words of letters and digits; a decimal number is one, every Chinese character is one."""
    return re.findall(r"[\u3400-\u9fff]|\d+\.\d+|[^\W_\u3400-\u9fff]+", text.lower())
