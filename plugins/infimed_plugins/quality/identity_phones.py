"""Telephone numbers in text: in the forms of countries, behind a word for a telephone, and extensions of a house."""

from __future__ import annotations

import re

from infimed_plugins.quality.identity_rule import Rule
from infimed_plugins.quality.reasons import Reason


def _is_phone(found: re.Match[str]) -> bool:
    """Enough digits, no two measures with a hyphen between them, no share."""
    number = re.search(r"[+(]*\d.{0,60}$", found[0], re.S)
    told = number[0] if number else ""
    if re.search(r" - |\d\.\d{1,2}(?!\d)[ -]|\d ?[-–] ?\d+\.\d\b", told) or re.match(
        r" ?(?:%|mm|cm|mg|ml|/|cells|patients|per\b)", found.string[found.end() :][:10]
    ):
        return False
    return sum(map(str.isdigit, told)) >= (4 if found[0][:5].lower() == "pager" else 7)


RULES = (
    Rule(
        "extension",
        Reason.PHI_PHONE,
        re.compile(
            r"\b(?:ext(?:n|ension)?|bleep|beep(?:er)?|dect|durchwahl|poste)\b\.?:? ?#?\d{4,6}(?![\w%]|\.\d| ?mm)", re.I
        ),
        digits=4,
        has_pieces=True,
    ),
    Rule(
        "telephone, American",
        Reason.PHI_PHONE,
        re.compile(
            r"(?<![\w.-])(?:(?:\+|00)?1[-. ]?|001[-. ])?(?:\(\d{3}\)[ -]?|\d{3}[-. ])\d{3}[-. ]\d{4}"
            r"(?: ?(?:x|ext\.?) ?\d{1,6})?(?![\w-]|\.\d)",
            re.I,
        ),
        digits=10,
        word=re.compile(r"\d{4}"),
    ),
    Rule(
        "telephone, international",
        Reason.PHI_PHONE,
        re.compile(r"(?<!\w)\+\d{1,3}(?:[-. ]?\(?\d{1,4}\)?){2,6}(?:x\d{1,6})?(?!\w)"),
        _is_phone,
        digits=7,
        word=re.compile(r"\+\d"),
    ),
    Rule(
        "telephone with a zero",
        Reason.PHI_PHONE,
        re.compile(
            r"(?<![\w.,-])(?:(?:0|0033 ?|0032 ?)[1-9](?:[ .]\d\d){4}|0\d{2,4}[ -]\d{3,4}[ -]?\d{3,4}|07\d{9}"
            r"|\(0\d{1,4}\)[ -]?\d{3,4}[ -]?\d{3,5}|00[1-9]\d[ -]\d{1,4}(?:[ -]\d{2,5}){1,4})(?![\w-]|\.\d)"
        ),
        _is_phone,
        digits=7,
        word=re.compile(r"(?<![\w.,-])\(?0\d"),
    ),
    Rule(
        "telephone, labelled",
        Reason.PHI_PHONE,
        re.compile(
            r"\b(?:telefone|celular|cellulare|whatsapp|ph(?=[.:] ?[+(0])|mob|gsm|puh|komórka"
            r"|anruf\w{0,3}(?: unter)?|ring(?:a|e)?(?: (?:mig|meg|oss))?(?= på)|llam(?:ar|e|en)|llámen?(?:me|nos)?"
            r"|appel(?:er|ez)(?:[ -](?:moi|nous))?|joindre|ligar|ligue(?: para)?|chiamare|bel(?:len)?(?= (?:naar|op))"
            r"|bereikbaar|erreichbar"
            r"|(?:tele)?phone[ds]?|tel[ée]fono|tfno|tlf|telefon|tel|m[óo]vil|mobile|handy|fax(?:ed)?"
            r"|cell(?= ?(?:no|num|phone|[:#]))"
            r"(?: phone)?|call(?:ed)?(?: (?:her|him|them|me|us|back))?|call-?back|pager|contact(?: number)?"
            r"|reach(?:ed|able)(?= at| on| [+(\d]))\b\.?"
            r"[ \t]{0,4}(?:numbers?|no\.?|#)?[ \t]{0,4}(?:is|:|=|at|on|to|på|op|unter|al?|au|le|il|para)?[ \t]{0,4}"
            r"\+?\(?\d[\d ()./-]{2,20}\d(?: ?(?:x|ext\.?) ?\d{1,6})?",
            re.I,
        ),
        _is_phone,
        digits=4,
        has_pieces=True,
    ),
    Rule(
        "mobile, Chinese",
        Reason.PHI_PHONE,
        re.compile(r"(?<![\d.])1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?!\d|\.\d)"),
        digits=11,
        word=re.compile(r"(?<![\d.])1[3-9]\d"),
    ),
    Rule(
        "telephone, Chinese",
        Reason.PHI_PHONE,
        re.compile(r"(?<![\d.])0\d{2,3}[- ]\d{7,8}(?!\d|\.\d)"),
        digits=10,
        word=re.compile(r"\d{7}"),
    ),
    Rule(
        "telephone, labelled in Chinese",
        Reason.PHI_PHONE,
        re.compile(r"(?:电话|手机|联系方式|联系电话|传真)号?码?\s?[：:]?\s?[+(]?\d[\d ()-]{5,16}\d"),
        digits=2,
        has_pieces=True,
    ),
)
"""In the order in which they are tried."""
