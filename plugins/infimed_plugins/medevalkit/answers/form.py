"""Markdown and TeX are form: they are taken away, and what they hold stays."""

from __future__ import annotations

import re

_UNWRAP = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|texttt|mathrm|mathbf|mathsf|mathit|mathbb|operatorname|bf|rm|it|emph|mbox|"
    r"underline|bm|boldsymbol|pmb|ce)\s?\{([^{}]*)\}"
)
_FRACTION = re.compile(r"\\[dt]?frac\s?\{([^{}]*)\}\s?\{([^{}]*)\}")
_TEX_WORDS = {
    "times": "×", "cdot": "·", "pm": "±", "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥", "lt": "<", "gt": ">",
    "approx": "≈", "sim": "~", "rightarrow": "→", "to": "→", "quad": " ", "qquad": " ", "circ": "°", "degree": "°",
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "mu": "μ", "left": "", "right": "", "displaystyle": "",
    "therefore": "∴", "checkmark": "✓", "infty": "∞", "lambda": "λ", "kappa": "κ", "sigma": "σ", "omega": "ω",
    "Delta": "Δ", "neq": "≠", "ne": "≠",
}  # fmt: skip
_TEX_WORD = re.compile(r"\\([A-Za-z]{1,12})\b ?")
_TEX_SPACE = re.compile(r"\\[,;:! ]")
_TEX_MATHS = re.compile(r"\\[()\[\]]|\$\$|\$(?![0-9]|[A-Z]{3})|(?<=[0-9A-Za-z}%)])\$")
_MONEY = re.compile(r"\$([^$\n]{1,80})\$")
_FENCE = re.compile(r"^```[a-z]*$|```", re.MULTILINE | re.IGNORECASE)
_EMPHASIS = re.compile(
    r"\*\*\*?|(?<![\w*])\*(?=\S)|(?<=\S)\*(?![\w*])|__(?=\S)|(?<=\S)__|(?<!\w)_(?=\w)|(?<=\w)_(?!\w)|~~"
)
_LINE_START = re.compile(r"^ ?(?:#{1,6} +|[-*+•·▪●] +|>+ ?(?=[^\d\s>]))+", re.MULTILINE)
_FORM = re.compile(r"[\\$`*_~<#>+•·▪●-]")
_LINE_MARK = re.compile(r" ?[-#*+•·▪●>]")
_LATER_LINE_MARK = re.compile(r"\n ?[-#*+•·▪●>]")
_RULE = re.compile(r"^[-*_=]{3,}$", re.MULTILINE)
_BOLD_LETTER = re.compile(r"(?<![\w*])(\*{1,3}|__?)\s?([A-Z])\s?\1(?![\w*])")
_TAGS = re.compile(
    r"</?(?:b|i|u|p|em|strong|br|span|div|center|code|sup|sub|final|response|output|result)\s?/?>", re.IGNORECASE
)


def plain(text: str) -> str:
    r"""The text without markdown, TeX and simple HTML; ``$3 million`` keeps its sign, ``\frac{24}{7}`` is 24/7."""
    if not _FORM.search(text):
        return text.strip()
    if "\\" in text:
        text = _tex(text)
    if "$" in text:
        text = _MONEY.sub(r"\1", text)
        text = _TEX_MATHS.sub("", text)
    if "`" in text:
        text = _FENCE.sub("", text).replace("`", "")
    if "*" in text or "_" in text or "~~" in text:
        text = _BOLD_LETTER.sub(r"(\2)", text)
        text = _RULE.sub("", text)
    if _LINE_MARK.match(text) or _LATER_LINE_MARK.search(text):
        text = _LINE_START.sub("", text)
    if "*" in text or "_" in text or "~~" in text:
        text = _EMPHASIS.sub("", text)
    if "<" in text:
        text = _TAGS.sub(" ", text)
    return text.strip()


def _tex(text: str) -> str:
    for _ in range(6):  # nested commands, innermost first
        shorter = _UNWRAP.sub(r"\1", _FRACTION.sub(r"\1/\2", text))
        if shorter == text:
            break
        text = shorter
    text = text.replace("\\%", "%").replace("\\$", "$").replace("\\_", "_").replace("\\#", "#").replace("\\&", "&")
    text = _TEX_MATHS.sub(" ", _TEX_SPACE.sub(" ", text))
    return _TEX_WORD.sub(lambda word: _TEX_WORDS.get(word[1], word[0]), text)
