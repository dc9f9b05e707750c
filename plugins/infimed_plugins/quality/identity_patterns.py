"""Structured identity in text: numbers of records and people, telephone, e-mail, places, networks.

Every repetition is bounded and starts at a border, so that a search takes time in proportion to the text.
"""

from __future__ import annotations

import ipaddress
import re

from infimed_plugins.quality import identity_addresses, identity_dates, identity_phones
from infimed_plugins.quality.identity_labels import CHINESE_LABEL, LABEL, WEAK_LABEL
from infimed_plugins.quality.identity_rule import Rule
from infimed_plugins.quality.reasons import Reason

_NUMBER_WORD = r"(?:numbers?|numero|número|nummer|no\.?|num\.?|nr\.?|n[.º°]+|code|identifier|id)"
_IS = rf"[ \t]{{0,4}}(?:{_NUMBER_WORD}(?![A-Za-z]))?[ \t]{{0,4}}(?:is|was|of|：|:|=|#|-)?[ \t]{{0,4}}[#: \t]{{0,4}}"
_EXPLICIT = (
    rf"[ \t]{{0,4}}(?:(?:{_NUMBER_WORD}(?![A-Za-z])"
    rf"[ \t]{{0,4}}(?:is|was|：|:|=|#)?|(?:is|was)\b|[#：:=])[ \t]{{0,4}}[#:]?)[ \t]{{0,4}}"
)
_COUNTED = r"(?:cells|cases|patients|years|weeks|days|times|months|hours|units|beats|slices|images|mm|cm)\b"
_TAIL = (
    r"(?:[-/._]?\d[\dA-Za-z]{0,20}|[-/._][A-Za-z]{1,4}\d{0,12}| \d{2,6}(?! ?[A-Za-z%/°])(?![.,]?\d)"
    rf"| \d{{3,6}}(?= (?!{_COUNTED})[a-z]{{4,20}}\b)){{0,6}}"
)
_CODE = rf"(?=[A-Za-z/_-]{{0,8}}[- /]?\d)[A-Za-z]{{0,8}}[-_ /]?\d[\dA-Za-z]{{0,30}}{_TAIL}"
_IP = r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"
_THREE_DIGITS = re.compile(r"\d(?:[-./ ]?\d){2}")
_TOLD = re.compile(
    r"(?:[#：:=]|is|was|id|code|identifier|no\.?|n[ur]m?\.?|numbers?|numero|número|nummer|n[.º°]+)"
    r"[ \t]{0,4}[#:]?[ \t]{0,4}[A-Za-z]{0,8}[-_ /]?\d",
    re.I,
)
"""What stands between a label of every day and a number."""
_OF_A_THING = re.compile(
    r"(?:gene|protein|entrez|omim|uniprot|snp|probe|template|cpt|icd|catalog(?:ue)?|grant|EC|version|trial"
    r"|registration|omim|pmc?)"
    r"[ :]?$", re.I,
)  # fmt: skip


def _digits(text: str) -> int:
    return sum(character.isdigit() for character in text)


def _is_record(found: re.Match[str]) -> bool:
    """Three digits at least in one piece, and no measure or year behind a word that is no label here."""
    code = found["code"]
    return bool(re.search(r"\d(?:[-./ ]?\d){2}", code)) and not re.match(
        r" ?(?:%|mg|mm|cm|ml|kg|patients|times|years|days|weeks|months|hours|guidelines?|cases)\b|%",
        found.string[found.end() :][:12],
    )


def is_weak_record(found: re.Match[str]) -> bool:
    """Four digits at least, no year, and not the number of a gene, a version or a trial."""
    if _OF_A_THING.search(found.string, max(0, found.start() - 16), found.start()):
        return False
    return (
        _digits(found["code"]) >= 4 and not re.fullmatch(r"(?:19|20)\d\d", found["code"].strip()) and _is_record(found)
    )


def is_network(found: re.Match[str]) -> bool:
    """Not the number of a gene, a version or a trial."""
    return not _OF_A_THING.search(found.string, max(0, found.start() - 16), found.start())


def _is_dni(found: re.Match[str]) -> bool:
    text = found[0].replace("-", "").upper()
    return _DNI[int(text[:-1].translate(str.maketrans("XYZ", "012"))) % 23] == text[-1]


def is_card(found: re.Match[str]) -> bool:
    """Of 13 to 16 digits whose last one checks the others (Luhn, ISO/IEC 7812-1)."""
    digits = [int(sign) for sign in found[0] if sign.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return digits[0] in (3, 4, 5, 6) and (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def is_account(found: re.Match[str]) -> bool:
    """An international number of an account, whose remainder by 97 is 1 (ISO 13616)."""
    plain = found[0].replace(" ", "")
    return (
        len(plain) > 14
        and _digits(plain) > 7
        and int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1
    )


def _is_network_six(found: re.Match[str]) -> bool:
    """An address of the sixth version of the protocol, and no time of day or ratio."""
    try:
        ipaddress.IPv6Address(found[0])
    except ValueError:
        return False
    return found[0].count(":") == 7 or (len(found[0]) > 8 and any(sign.isalpha() for sign in found[0]))


def is_uid(found: re.Match[str]) -> bool:
    """Not one of the standard and not one of the root that stands for no organisation."""
    return len(found[0]) >= 20 and not found[0].startswith(("1.2.840.10008.", "2.25."))


STRUCTURED: tuple[Rule, ...] = (
    Rule(
        "email",
        Reason.PHI_EMAIL,
        re.compile(r"(?<![\w.+%-])[\w.+%-]{1,80}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,6}\.[A-Za-z]{2,24}(?![\w-])"),
        digits=0,
        word=re.compile("@"),
        is_near=False,
    ),
    Rule(
        "email in words",
        Reason.PHI_EMAIL,
        re.compile(
            r"(?<!\w)[\w.+%-]{1,80} ?[\[(]at[\])] ?[\w-]{1,63}(?:(?: ?[\[(]dot[\])] ?|\.)[\w-]{1,63}){1,6}"
            r"|\b(?:twitter|instagram|facebook|tiktok|skype|linkedin)\W{1,3}@\w{3,30}",
            re.I,
        ),
        digits=0,
        word=re.compile(r"[\[(]at[\])]|twitter|instagram|facebook|tiktok|skype|linkedin", re.I),
        is_near=False,
    ),
    Rule(
        "birth",
        Reason.PHI_BIRTH_DATE,
        identity_dates.BIRTH,
        has_pieces=True,
    ),
    Rule(
        "national id, Chinese",
        Reason.PHI_NATIONAL_ID,
        re.compile(
            r"(?<![\dA-Za-z])[1-9]\d{5}(?:18|19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d"
            r"|3[01])\d{3}[\dXx](?![\dA-Za-z])"
            r"|(?:身份证号?码?|居民身份证)\s?[：:]?\s?\d{15,17}[\dXx]?"
        ),
        digits=15,
        word=re.compile(r"\d{15}"),
    ),
    Rule(
        "national id with letters",
        Reason.PHI_NATIONAL_ID,
        re.compile(
            r"(?<!\w)(?:[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]|[12] \d\d (?:0[1-9]"
            r"|1[0-2]) \d\d \d{3} \d{3}(?: \d\d)?"
            r"|[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] \d\d \d\d \d\d [A-D]"
            r"|[1-9][AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]\d-?[AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]\d-?[AC-HJKMNP-RT-Y]{2}\d\d)(?!\w)"
        ),
        digits=5,
        word=re.compile(
            r"[A-Z]{6}\d|(?<!\w)[12]$|(?<!\w)[A-CEGHJ-PR-TW-Z]{2}$|[1-9][AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]\d"
        ),
    ),
    Rule(
        "national id, Spanish",
        Reason.PHI_NATIONAL_ID,
        re.compile(r"(?<![\w-])(?:\d{8}|[XYZ]\d{7})-?[A-HJ-NP-TV-Z](?![\w-])"),
        _is_dni,
        digits=7,
        word=re.compile(r"\d{7}-?[A-Z]"),
    ),
    Rule(
        "national id with a date or dots",  # Nordic, Czech, Malaysian, Korean, Belgian, Swiss, Brazilian
        Reason.PHI_NATIONAL_ID,
        re.compile(
            r"(?<![\w.-])(?:(?:18|19|20)?\d\d(?:0[1-9]|1[0-2]|5[1-9]|6[0-2])(?:0[1-9]|[12]\d|3[01])(?:-\d\d)?[-+/]\d{4}"
            r"|(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])\d\d(?:[-+]\d{4}|[-+A-F]\d{3}[\dA-Y])"
            r"|\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])-[1-8]\d{6}"
            r"|\d\d\.(?:0[1-9]|1[0-2])\.(?:0[1-9]|[12]\d|3[01])-\d{3}\.\d\d|756\.\d{4}\.\d{4}\.\d\d"
            r"|\d{3}\.\d{3}\.\d{3}-\d\d|\d{1,2}\.\d{3}\.\d{3}-[\dKk])(?![\w-]|\.\d)"
        ),
        digits=7,
        word=re.compile(r"\d{6}[-+/A-F]\d|\d\d\.\d\d\.\d\d-\d|\d\.\d{3,4}\.\d{3,4}[-.]"),
    ),
    Rule(
        "social security",
        Reason.PHI_SOCIAL_SECURITY,
        re.compile(r"(?<![\d-])(?!000|666)\d{3}-(?!00)\d{2}-(?!0000)\d{4}[A-Z]?(?![\d-])"),
        digits=9,
        word=re.compile(r"\d{3}-\d\d-\d{4}"),
    ),
    Rule(
        "social security, labelled",
        Reason.PHI_SOCIAL_SECURITY,
        re.compile(rf"\b(?:ssn|social security|nss)\b{_IS}\d{{3}}[- ]?\d{{2}}[- ]?\d{{4}}\b", re.I),
        digits=9,
        has_pieces=True,
    ),
    Rule(
        "uid",
        Reason.PHI_RECORD_NUMBER,
        re.compile(r"(?<!\d)(?<!\d\.)[0-2](?:\.\d{1,64}){5,20}(?!\d)"),
        is_uid,
        digits=6,
        word=re.compile(r"(?:\.\d{1,64}){5}"),
    ),
    Rule(
        "record, labelled",
        Reason.PHI_RECORD_NUMBER,
        re.compile(rf"\b(?:{LABEL})(?![A-Za-z]){_IS}(?P<code>{_CODE})(?!\d)", re.I),
        _is_record,
        digits=3,
        first=_THREE_DIGITS,
        has_pieces=True,
    ),
    Rule(
        "record, told",
        Reason.PHI_RECORD_NUMBER,
        re.compile(rf"(?<![\w-])(?:{WEAK_LABEL})(?![A-Za-z]){_EXPLICIT}(?P<code>{_CODE})(?!\d)", re.I),
        is_weak_record,
        digits=4,
        first=_TOLD,
        has_pieces=True,
    ),
    Rule(
        "record of many digits",
        Reason.PHI_RECORD_NUMBER,  # so long a number needs no word that it is one
        re.compile(rf"(?<![\w-])(?:{WEAK_LABEL}) {{1,2}}(?P<code>\d{{6,14}})(?![\w%-]|[.,]\d)", re.I),
        is_weak_record,
        digits=6,
        word=re.compile(r"\d{6}"),
        has_pieces=True,
    ),
    Rule(
        "record, Chinese",
        Reason.PHI_RECORD_NUMBER,
        re.compile(rf"(?:{CHINESE_LABEL})\s?(?:是|为)?\s?[：:#]?\s?(?=[A-Za-z-]{{0,8}}\d)[A-Za-z\d-]{{4,20}}"),
        has_pieces=True,
    ),
    Rule(
        "record before carets",
        Reason.PHI_RECORD_NUMBER,
        re.compile(r"(?<![\w^])[A-Za-z]{0,4}\d{4,14}(?=\^{2,6}[A-Za-z])"),
        digits=4,
        word=re.compile(r"\d\^"),
    ),
    Rule(
        "specimen",
        Reason.PHI_RECORD_NUMBER,  # laboratories number what they receive by year: S18-12345
        re.compile(
            r"\b(?:specimens?|biops(?:y|ies)|pathology|cytology|surgical(?: path\w*)?|slides?|blocks?|case|accession"
            r"|autopsy|received)\b[^.\n]{0,16}?\b(?P<code>[A-Z]{1,3}-?\d\d-\d{3,7})(?!\w)",
            re.I,
        ),
        digits=5,
        word=re.compile(r"\d\d-\d{3}"),
        has_pieces=True,
    ),
    Rule(
        "vehicle",
        Reason.PHI_RECORD_NUMBER,  # of a vehicle
        re.compile(
            r"\b(?i:(?:licen[cs]e|number|registration|vehicle|car) plate|plate (?:number|no)|vehicle reg(?:istration)?"
            r"|(?:car|vehicle) reg|kennzeichen|matr[ií]cula|immatriculation|targa|tag number)"
            r"(?i:\.?\s?(?:number|no\.?|is|was|:"
            r"|#)){0,2}\s?(?P<code>(?=[A-ZÄÖÜ -]{0,8}\d)(?=[\d -]{0,6}[A-ZÄÖÜ])"
            r"[A-ZÄÖÜ\d]{1,7}(?:[ -][A-Z\d]{1,4}){0,2})(?![\w-])"
        ),
        has_pieces=True,
    ),
    Rule(
        "card",
        Reason.PHI_RECORD_NUMBER,
        re.compile(r"(?<![\d.,-])(?:\d{4}[ -]?){3}\d{1,4}(?![\d,-]|\.\d)"),
        is_card,
        digits=13,
    ),
    Rule(
        "account",
        Reason.PHI_RECORD_NUMBER,  # of an account at a bank
        re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z\d]{4}){2,7}(?: ?[A-Z\d]{1,3})?(?!\w)"),
        is_account,
        digits=8,
        word=re.compile(r"[A-Z]{2}\d\d"),
    ),
    *identity_phones.RULES,
    *identity_addresses.RULES,
    Rule(
        "network",
        Reason.PHI_NETWORK,  # with a part of three digits, or behind its label: versions have four parts too
        re.compile(
            rf"(?<![\d.])(?=(?:\d{{1,3}}\.){{0,3}}\d{{3}}){_IP}(?!\d|\.\d)"
            rf"|\bip(?:v4)?(?: address)?\s?(?:is|:|=)?\s?{_IP}",
            re.I,
        ),
        is_network,
        digits=4,
        word=re.compile(r"(?:\d{1,3}\.){3}\d"),
    ),
    Rule(
        "hardware",
        Reason.PHI_NETWORK,
        re.compile(r"(?<![\w:-])(?:[\dA-Fa-f]{2}[:-]){5}[\dA-Fa-f]{2}(?![\w:-])"),
        digits=0,
        word=re.compile(r"(?:[\dA-Fa-f]{2}[:-]){5}"),
        is_near=False,
    ),
    Rule(
        "network, sixth version",
        Reason.PHI_NETWORK,
        re.compile(r"(?<![\w:.])(?=[\dA-Fa-f]{0,4}:)(?:[\dA-Fa-f]{0,4}:){2,7}[\dA-Fa-f]{1,4}(?![\w:])"),
        _is_network_six,
        digits=0,
        word=re.compile(r":[\dA-Fa-f]{0,4}:"),
        is_near=False,
    ),
    *identity_dates.RULES,
)
"""In the order in which they are tried; what one has taken the later ones leave."""
