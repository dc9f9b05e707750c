"""The forms in which a letter is chosen, as regular expressions for a given number of options."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_OPEN, _CLOSE = r"[\(\[{（【<\"'“‘]*", r"[\)\]}）】>\"'”’]*"
_LINK = r"\s*(?:,|、|;|/|&|\+|\band\b|\bor\b|和|与|及|或)\s*"

# An epithet after "E." or "A." makes it the name of a germ or of a rhythm, not a label.
EPITHETS = (
    "fib|flutter|coli|difficile|diff|pylori|cereus|fragilis|albicans|perfringens|botulinum|tetani|burgdorferi|jejuni|"
    "trachomatis|neoformans|immitis|dermatitidis|henselae|pertussis|anthracis|abortus|influenzae|ducreyi|histolytica|"
    "faecalis|faecium|vermicularis|granulosus|lamblia|vaginalis|diphtheriae|baumannii|fumigatus|lumbricoides|"
    "duodenale|bovis|hominis|gattii|auris|glabrata|israelii|cloacae|canis|felis|quintana|tularensis|marginale"
)
_AFTER = (
    r"(?=$|\s*$|\s*[\n.,;:!?。,;:!?、)\]}】]|\s+-+\s|\s*[—–]|\s+(?:because|since|as|for|due|which|is|are|was|and|or|not|rather|"
    r"over|instead|given|based)\b|[因而是为,和或不正]|\s*[/&、]\s*[A-Za-z]\b)"
)


def _cues(last: str) -> tuple[re.Pattern[str], ...]:
    one = f"[A-{last}a-{last.lower()}]"
    letter = rf"{_OPEN}(?P<letter>{one}){_CLOSE}"
    option = r"(?:(?:the\s+)?(?:option|choice|letter|answer)\s*:?\s*|选项\s*)?"
    noun = r"(?:answers?|options?|choices?|diagnosis|response|conclusion|选项|答案|选择|结论)"
    verb = (
        r"(?:(?:is|are|would\s+be|should\s+be|must\s+be|will\s+be|appears\s+to\s+be)\s*:?|:|=|"
        r"应该是|应当是|应为|应选|是|为|选)"
    )
    flags = re.IGNORECASE
    return (
        re.compile(rf"(?<![A-Za-z]){noun}\s*{verb}\s*[:\s]*{option}{letter}{_AFTER}", flags),
        re.compile(rf"final\s+answer\s*[:\s]*{option}{letter}{_AFTER}", flags),
        re.compile(rf"\b(?:choose|select|pick|go\s+with|opt\s+for)\s+{option}{letter}{_AFTER}", flags),
        re.compile(rf"答案\s*[】\]]\s*:?\s*{letter}(?![A-Za-z])"),
        re.compile(rf"(?:故选|应选|选择|选)\s*[:\s]*{letter}(?![A-Za-z])", flags),
        re.compile(
            rf"(?<![A-Za-z0-9'-]){_OPEN}(?P<letter>[A-{last}]){_CLOSE}\s*(?:(?:is|would\s+be|seems|appears)\s+(?:to\s+be\s+)?(?:the\s+)?"
            r"(?:correct|right|best|most\s+(?:likely|appropriate|accurate|probable)|answer)|是(?:正确|对)|(?<=[A-Z])\s*正确)"
        ),
    )


class Forms(NamedTuple):
    """``cues``: statements ("the answer is B"); ``listed``: statements of several; ``whole``, ``many``: nothing but
    letters; ``lead``: a letter, then text; ``last``: a letter after the last comma or colon; ``bracketed``, ``option``.
    """

    cues: tuple[re.Pattern[str], ...]
    listed: re.Pattern[str]
    whole: re.Pattern[str]
    many: re.Pattern[str]
    lead: re.Pattern[str]
    last: re.Pattern[str]
    bracketed: re.Pattern[str]
    option: re.Pattern[str]


@lru_cache(maxsize=32)
def forms(num_options: int) -> Forms:
    """The forms for options A to the ``num_options``-th letter."""
    end = LETTERS[num_options - 1]
    capital, one = f"[A-{end}]", f"[A-{end}a-{end.lower()}]"
    word = r"(?:options?|choices?|选项?)"
    wrong = r"(?!\s*(?:is|are)\s+(?:not|wrong|incorrect))"
    return Forms(
        cues=_cues(end),
        listed=re.compile(
            r"(?:answers?|options?|choices?|答案|选项?)\s*(?:is|are|:|是|为|应为|选)*\s*[:\s]*"
            rf"{_OPEN}(?P<list>{capital}(?:{_CLOSE}(?:{_LINK}|){_OPEN}{capital})+){_CLOSE}(?![A-Za-z0-9-])"
        ),
        whole=re.compile(
            rf"{_OPEN}(?:(?:option|choice)\s*:?\s*|选项?\s*:?\s*)?{_OPEN}(?P<letter>{one}){_CLOSE}[\s.。,;:!]*{_CLOSE}",
            re.IGNORECASE,
        ),
        many=re.compile(
            rf"{_OPEN}(?:{word}\s*:?\s*)?{_OPEN}{capital}{_CLOSE}(?:(?:{_LINK}|\s*){_OPEN}{capital}{_CLOSE})+[\s.。]*{_CLOSE}"
        ),
        lead=re.compile(
            rf"(?:option\s+)?{_OPEN}(?P<letter>{one})(?:[\)\]}}）】>\"'”’]+\s*[.:,]?|\s*[.:、。,;]|\s+[-—–]+(?=\s)|(?=\s*\n)"
            r"|(?=\s+(?:because|since|as\s|due\s+to)))(?P<rest>.*)",
            re.IGNORECASE | re.DOTALL,
        ),
        last=re.compile(rf"(?P<before>.*)[,:;→]\s*[\(\[]?(?P<letter>{capital})[\)\]]?[.。]?\s*$", re.DOTALL),
        bracketed=re.compile(rf"[\(\[](?:option\s*)?(?P<letter>{capital})[\)\]]{wrong}", re.IGNORECASE),
        option=re.compile(rf"\b[Oo]ption\s+(?P<letter>{capital})\b{wrong}"),
    )


ANY_LETTER = re.compile(
    r"(?:answer|option|choice)\s*(?:is|:)+\s*(?:option\s*)?[\(\[]?(?P<letter>[A-Z])[\)\]]?\s*\.?\s*$", re.IGNORECASE
)

EPITHET = re.compile(rf"\s*\.\s*(?:{EPITHETS})\b", re.IGNORECASE)
DENIAL = re.compile(
    r"\s*[\)\]]*\s*(?:(?:is|are|was)\s+(?:not|wrong|incorrect|unlikely)\b|不正确|错误|不对|不是)", re.IGNORECASE
)
ARTICLE = re.compile(r"\s+(?!(?:because|since|as|for|due|which|is|and|or|not|rather)\b)[a-z]")
"""What follows "a" the article or "I" the pronoun: a lower-case word that does not explain a choice."""

LABEL = re.compile(
    r"(?:answer|option|choice|diagnosis)\s*(?:is\s*:?|would\s+be|:)\s*|答案\s*(?:是|为|应为|:)+\s*", re.IGNORECASE
)
SENTENCE_END = re.compile(r"[\n。;]|\.(?=\s|$)")
LETTERED_NAME = re.compile(
    r"\b(?:vitamins?|hepatitis|types?|factors?|proteins?|groups?|grades?|stages?|class)\s+\W*\w?[^.\n]{0,40}$",
    re.IGNORECASE,
)
"""The end of a text in which a last letter is part of a name ("vitamins A, C, D")."""
