"""Structured identity in text: numbers of records and people, telephone, e-mail, places, networks.

Every repetition is bounded and starts at a border, so that a search takes time in proportion to the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from infimed_plugins.quality import identity_dates
from infimed_plugins.quality.identity_labels import CHINESE_LABEL, LABEL, WEAK_LABEL
from infimed_plugins.quality.identity_prefilter import Index, around_digits, lowered, pieces_of, threes_of
from infimed_plugins.quality.reasons import Reason

Check = Callable[[re.Match[str]], bool]
"""Whether a match is what its pattern takes it for, by what stands around it."""
Rule = tuple[Reason, re.Pattern[str], Check | None]

_NUMBER_WORD = r"(?:numbers?|numero|número|nummer|no\.?|num\.?|nr\.?|n[.º°]+|code|identifier|id)"
_IS = rf"[ \t]{{0,4}}(?:{_NUMBER_WORD}(?![A-Za-z]))?[ \t]{{0,4}}(?:is|was|of|：|:|=|#|-)?[ \t]{{0,4}}[#: \t]{{0,4}}"
_EXPLICIT = (
    rf"[ \t]{{0,4}}(?:(?:{_NUMBER_WORD}(?![A-Za-z])"
    rf"[ \t]{{0,4}}(?:is|was|：|:|=|#)?|(?:is|was)\b|[#：:=])[ \t]{{0,4}}[#:]?)[ \t]{{0,4}}"
)
_TAIL = r"(?:[-/._]?\d[\dA-Za-z]{0,20}|[-/._][A-Za-z]{1,4}\d{0,12}|(?: \d{2,4}(?! ?[A-Za-z%/°])(?![.,]?\d))){0,6}"
_CODE = rf"(?=[A-Za-z/_-]{{0,8}}[- /]?\d)[A-Za-z]{{0,8}}[-_ /]?\d[\dA-Za-z]{{0,30}}{_TAIL}"
_IP = r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"
_STREET = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Court|Ct"
    r"|Terrace|Highway|Hwy|Parkway|Pkwy|Crescent|Way)"
)
_WEAK_STREET = (
    r"(?:Dr|Place|Pl|Square|Sq|Circle|Cir|Close|Gardens?|Mews|Row|Hill|Park|Green|Alley|Annex|Bay|Bend|Bluffs?"
    r"|Branch|Bridge"
    r"|Brooks?|Burgs?|Bypass|Camp|Canyon|Cape|Causeway|Centers?|Circles|Cliffs?|Club|Common|Corners?|Course"
    r"|Courts|Coves?|Creek"
    r"|Crest|Crossing|Crossroad|Curve|Dale|Dam|Divide|Drives|Estates?|Expressway|Extensions?|Falls?|Ferry"
    r"|Fields?|Flats?|Fords?"
    r"|Forest|Forges?|Forks?|Fort|Freeway|Gateway|Glens?|Greens|Groves?|Harbors?|Haven|Heights|Hills|Hollow"
    r"|Inlet|Islands?|Isle"
    r"|Junctions?|Keys?|Knolls?|Lakes?|Land|Landing|Lights?|Loaf|Locks?|Lodge|Loop|Mall|Manors?"
    r"|Meadows?|Mills?|Mission"
    r"|Motorway|Mount|Mountains?|Neck|Orchard|Oval|Overpass|Parks|Parkways|Pass|Passage|Path|Pike|Pines?"
    r"|Plains?|Plaza|Points?"
    r"|Ports?|Prairie|Radial|Ramp|Ranch|Rapids?|Rest|Ridges?|River|Roads|Route|Rue|Run|Shoals?|Shores?|Skyway"
    r"|Springs?|Spurs?"
    r"|Squares|Station|Stravenue|Stream|Streets|Summit|Throughway|Trace|Track|Trafficway|Trail|Tunnel|Turnpike"
    r"|Underpass"
    r"|Unions?|Valleys?|Via|Viaduct|Views?|Villages?|Ville|Vista|Walks?|Wall|Ways|Wells?)"
)
_WORD = r"[A-Z\u00c0-\u00de][\w'.-]{0,24}"
_AREAS = (
    "AB AL B BA BB BD BH BL BN BR BS BT CA CB CF CH CM CO CR CT CV CW DA DD DE DG DH DL DN DT DY E EC EH EN EX"
    " FK FY G GL GU GY"
    " HA HD HG HP HR HS HU HX IG IM IP IV JE KA KT KW KY L LA LD LE LL LN LS LU M ME MK ML N NE NG NN NP NR NW"
    " OL OX PA PE PH PL"
    " PO PR RG RH RM S SA SE SG SK SL SM SN SO SP SR SS ST SW SY TA TD TF TN TQ TR TS TW UB W WA WC WD WF WN"
    " WR WS WV YO ZE"
)
_POSTCODE = rf"(?:{'|'.join(_AREAS.split())})\d[A-Z\d]? ?\d(?!TH|ND|RD|ST)[ABD-HJLNP-UW-Z]{{2}}"
_TOWN = rf"(?:{_WORD}(?: {_WORD}){{0,2}})"
_REGION = rf"(?:,? (?:{_TOWN},? )?(?:{_POSTCODE}|[A-Z]{{2}},? \d{{5}}(?:-\d{{4}})?)\b|, \d{{5}} {_TOWN})"
_FLAT = r"(?:,? (?:(?:Apt|Apartment|Suite|Ste|Unit|Flat)\b\.?|#) ?\w{1,6}\b)?"
_HOUSE = rf"\b\d{{1,6}}[A-Za-z]?,? (?:(?:North|South|East|West|[NSEW]{{1,2}})\.? )?(?:{_WORD} ){{1,4}}?"

_HOME = re.compile(
    r"\b(?:liv(?:es?|ed|ing)|resid\w{1,6}|address|home|house|mail\w{0,3}|moved|locat\w{1,4}|deliver\w{0,3}|sent"
    r"|domicil\w{0,4}"
    r"|write|picked up|visited|stays?|staying|vive)\b[^.\n]{0,24}$", re.I,
)  # fmt: skip
_FIGURE = re.compile(
    r"\b(?:fig(?:ure|s)?|tab(?:le)?|panel|case|type|grade|stage|level|step|phase|per|and|image|slice|class"
    r"|group|no|of|box"
    r"|supplementary|section|chapter|version|series|by|x)\.? ?$", re.I,
)  # fmt: skip
_SCANNED = re.compile(
    r"(?:chest|abdomen|pelvis|head|neck|thorax|spine|brain|contrast|study|exam|with|without|of|scan|cardiac"
    r"|code|cpt)\b",
    re.I,
)
_OF_A_THING = re.compile(
    r"(?:gene|protein|entrez|omim|uniprot|snp|probe|template|cpt|icd|catalog(?:ue)?|grant|EC|version|trial"
    r"|registration|omim|pmc?)"
    r"[ :]?$", re.I,
)  # fmt: skip


def _is_house(found: re.Match[str]) -> bool:
    if found[0].rstrip().endswith("Way") and not re.search(r"\d{2}", found[0][:3]):
        return bool(_HOME.search(found.string, max(0, found.start() - 48), found.start()))
    return not _FIGURE.search(found.string, max(0, found.start() - 16), found.start())


def _is_home(found: re.Match[str]) -> bool:
    known = _HOME.search(found.string, max(0, found.start() - 48), found.start())
    return bool(known) or (bool(re.search(r"\d{5}|\d[A-Z]{2}$|Apt|Suite", found[0][6:])) and _is_house(found))


def _is_place(found: re.Match[str]) -> bool:
    return not _SCANNED.match(found[0]) and not _FIGURE.search(found.string, max(0, found.start() - 16), found.start())


def _digits(text: str) -> int:
    return sum(character.isdigit() for character in text)


def _is_phone(found: re.Match[str]) -> bool:
    """Enough digits, no two measures with a hyphen between them, no share."""
    number = re.search(r"[+(]*\d.{0,60}$", found[0], re.S)
    told = number[0] if number else ""
    if re.search(r" - |\d\.\d{1,2}(?!\d)[ -]|\d ?[-–] ?\d+\.\d\b", told) or re.match(
        r" ?(?:%|mm|cm|mg|ml|/|cells|patients|per\b)", found.string[found.end() :][:10]
    ):
        return False
    return _digits(told) >= (4 if found[0][:5].lower() == "pager" else 7)


def _is_record(found: re.Match[str]) -> bool:
    """Three digits at least in one piece, and no measure or year behind a word that is no label here."""
    code = found["code"]
    return bool(re.search(r"\d(?:[-./ ]?\d){2}", code)) and not re.match(
        r" ?(?:%|mg|mm|cm|ml|kg|patients|times|years|days|weeks|months|hours|guidelines?|cases)\b|%",
        found.string[found.end() :][:12],
    )


def _is_weak_record(found: re.Match[str]) -> bool:
    if _OF_A_THING.search(found.string, max(0, found.start() - 16), found.start()):
        return False
    return (
        _digits(found["code"]) >= 4 and not re.fullmatch(r"(?:19|20)\d\d", found["code"].strip()) and _is_record(found)
    )


def _is_network(found: re.Match[str]) -> bool:
    return not _OF_A_THING.search(found.string, max(0, found.start() - 16), found.start())


def _is_dni(found: re.Match[str]) -> bool:
    text = found[0].replace("-", "").upper()
    return _DNI[int(text[:-1].translate(str.maketrans("XYZ", "012"))) % 23] == text[-1]


def _is_uid(found: re.Match[str]) -> bool:
    """Not one of the standard and not one of the root that stands for no organisation."""
    return len(found[0]) >= 20 and not found[0].startswith(("1.2.840.10008.", "2.25."))


STRUCTURED: tuple[Rule, ...] = (
    (
        Reason.PHI_EMAIL,
        re.compile(r"(?<![\w.+%-])[\w.+%-]{1,80}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,6}\.[A-Za-z]{2,24}(?![\w-])"),
        None,
    ),
    (Reason.PHI_BIRTH_DATE, identity_dates.BIRTH, None),
    (
        Reason.PHI_NATIONAL_ID,
        re.compile(
            r"(?<![\dA-Za-z])[1-9]\d{5}(?:18|19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d"
            r"|3[01])\d{3}[\dXx](?![\dA-Za-z])"
            r"|(?:身份证号?码?|居民身份证)\s?[：:]?\s?\d{15,17}[\dXx]?"
        ),
        None,
    ),
    (
        Reason.PHI_NATIONAL_ID,
        re.compile(
            r"(?<!\w)(?:[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]|[12] \d\d (?:0[1-9]"
            r"|1[0-2]) \d\d \d{3} \d{3}(?: \d\d)?"
            r"|[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] \d\d \d\d \d\d [A-D]"
            r"|[1-9][AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]\d-?[AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]\d-?[AC-HJKMNP-RT-Y]{2}\d\d)(?!\w)"
        ),
        None,
    ),
    (Reason.PHI_NATIONAL_ID, re.compile(r"(?<![\w-])(?:\d{8}|[XYZ]\d{7})-?[A-HJ-NP-TV-Z](?![\w-])"), _is_dni),
    (
        Reason.PHI_SOCIAL_SECURITY,
        re.compile(r"(?<![\d-])(?!000|666)\d{3}-(?!00)\d{2}-(?!0000)\d{4}[A-Z]?(?![\d-])"),
        None,
    ),
    (
        Reason.PHI_SOCIAL_SECURITY,
        re.compile(rf"\b(?:ssn|social security|nss)\b{_IS}\d{{3}}[- ]?\d{{2}}[- ]?\d{{4}}\b", re.I),
        None,
    ),
    (Reason.PHI_RECORD_NUMBER, re.compile(r"(?<!\d)(?<!\d\.)[0-2](?:\.\d{1,64}){5,20}(?!\d)"), _is_uid),
    (
        Reason.PHI_RECORD_NUMBER,
        re.compile(rf"\b(?:{LABEL})(?![A-Za-z]){_IS}(?P<code>{_CODE})(?!\d)", re.I),
        _is_record,
    ),
    (
        Reason.PHI_RECORD_NUMBER,
        re.compile(rf"(?<![\w-])(?:{WEAK_LABEL})(?![A-Za-z]){_EXPLICIT}(?P<code>{_CODE})(?!\d)", re.I),
        _is_weak_record,
    ),
    (
        Reason.PHI_RECORD_NUMBER,
        re.compile(rf"(?:{CHINESE_LABEL})\s?(?:是|为)?\s?[：:#]?\s?(?=[A-Za-z-]{{0,8}}\d)[A-Za-z\d-]{{4,20}}"),
        None,
    ),
    (Reason.PHI_RECORD_NUMBER, re.compile(r"(?<![\w^])[A-Za-z]{0,4}\d{4,14}(?=\^{2,6}[A-Za-z])"), None),
    (
        Reason.PHI_RECORD_NUMBER,  # laboratories number what they receive by year: S18-12345
        re.compile(
            r"\b(?:specimens?|biops(?:y|ies)|pathology|cytology|surgical(?: path\w*)?|slides?|blocks?|case|accession"
            r"|autopsy|received)\b[^.\n]{0,16}?\b(?P<code>[A-Z]{1,3}-?\d\d-\d{3,7})(?!\w)",
            re.I,
        ),
        None,
    ),
    (
        Reason.PHI_PHONE,
        re.compile(
            r"\b(?:ext(?:n|ension)?|bleep|beeper|dect|durchwahl|poste)\b\.?:? ?#?\d{4,6}(?![\w%]|\.\d| ?mm)", re.I
        ),
        None,
    ),
    (
        Reason.PHI_PHONE,
        re.compile(
            r"(?<![\w.-])(?:(?:\+|00)?1[-. ]?|001[-. ])?(?:\(\d{3}\)[ -]?|\d{3}[-. ])\d{3}[-. ]\d{4}"
            r"(?: ?(?:x|ext\.?) ?\d{1,6})?(?![\w-]|\.\d)",
            re.I,
        ),
        None,
    ),
    (Reason.PHI_PHONE, re.compile(r"(?<!\w)\+\d{1,3}(?:[-. ]?\(?\d{1,4}\)?){2,6}(?:x\d{1,6})?(?!\w)"), _is_phone),
    (
        Reason.PHI_PHONE,
        re.compile(r"(?<![\w.,-])0(?:[1-9](?:[ .]\d\d){4}|\d{2,4}[ -]\d{3,4}[ -]?\d{3,4})(?![\w-]|\.\d)"),
        _is_phone,
    ),
    (
        Reason.PHI_PHONE,
        re.compile(
            r"\b(?:(?:tele)?phone[ds]?|tel[ée]fono|tfno|tlf|telefon|tel|m[óo]vil|mobile|handy|fax(?:ed)?"
            r"|cell(?= ?(?:no|num|phone|[:#]))"
            r"(?: phone)?|call(?:ed)?(?: (?:her|him|them|me|us|back))?|call-?back|pager|contact(?: number)?"
            r"|reach(?:ed|able)(?= at| on| [+(\d]))\b\.?"
            r"[ \t]{0,4}(?:numbers?|no\.?|#)?[ \t]{0,4}(?:is|:|=|at|on|to)?[ \t]{0,4}"
            r"\+?\(?\d[\d ().-]{2,20}\d(?: ?(?:x|ext\.?) ?\d{1,6})?",
            re.I,
        ),
        _is_phone,
    ),
    (Reason.PHI_PHONE, re.compile(r"(?<![\d.])1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?!\d|\.\d)"), None),
    (Reason.PHI_PHONE, re.compile(r"(?<![\d.])0\d{2,3}[- ]\d{7,8}(?!\d|\.\d)"), None),
    (
        Reason.PHI_PHONE,
        re.compile(r"(?:电话|手机|联系方式|联系电话|传真)号?码?\s?[：:]?\s?[+(]?\d[\d ()-]{5,16}\d"),
        None,
    ),
    (Reason.PHI_ADDRESS, re.compile(rf"{_HOUSE}{_STREET}\b\.?{_FLAT}{_REGION}?"), _is_house),
    (Reason.PHI_ADDRESS, re.compile(rf"{_HOUSE}{_WEAK_STREET}\b\.?{_FLAT}{_REGION}?"), _is_home),
    (Reason.PHI_ADDRESS, re.compile(r"\b(?:P\.? ?O\.?|(?:PSC|Unit|CMR) \d{1,6},?) Box \d{1,8}", re.I), None),
    (
        Reason.PHI_ADDRESS,
        re.compile(
            rf"\b(?:{_TOWN}, [A-Z]{{2}}|(?:US\w{{1,4}} [A-Z]\w{{1,20}}, )?(?:APO|FPO"
            rf"|DPO),? [A-Z]{{2}}),? \d{{5}}(?:-\d{{4}})?\b"
        ),
        _is_place,
    ),
    (Reason.PHI_ADDRESS, re.compile(rf"\b(?:{_TOWN},? )?{_POSTCODE}\b"), _is_place),
    (
        Reason.PHI_ADDRESS,
        re.compile(
            rf"\b(?:Calle|C/|Avda\.?|Avenida|Plaza|Paseo|Camino|Carretera|Rua|Via|Viale"
            rf"|Piazza) ?(?:d[eo]l? )?(?:l[ao]s? )?{_WORD}"
            rf"(?: (?:de |del |la )?{_WORD}){{0,3}},? (?:n[.º°]+ ?)?\d{{1,4}}(?:, ?\d{{5}} {_WORD})?"
            rf"|\b\d{{1,4}},? (?:bis )?(?:rue|boulevard|avenue|impasse|allée) (?:d[eu]s? )?(?:l[ae]s? "
            rf"|l')?{_WORD}(?:, ?\d{{5}} {_WORD})?"
            r"|\b[A-ZÄÖÜ][\wäöüß]{2,24}(?:stra(?:ß|ss)e|str\.|weg|gasse|platz"
            r"|allee) \d{1,4}[a-z]?(?:, ?\d{5} [A-ZÄÖÜ]\w{2,24})?"
        ),
        None,
    ),
    (
        Reason.PHI_ADDRESS,
        re.compile(
            r"\b(?:zip(?: ?code)?|postal code|postcode)\s?(?:is|:"
            r"|=)?\s?(?=[A-Z]{0,2}\d)[A-Z\d]{3,5}[- ]?[A-Z\d]{0,4}\b",
            re.I,
        ),
        None,
    ),
    (
        Reason.PHI_ADDRESS,
        re.compile(
            r"(?:[\u4e00-\u9fff]{2,7}(?:省|市|自治区))?[\u4e00-\u9fff]{2,7}(?:市|区|县)[\u4e00-\u9fff]{1,10}(?:路|街|道|巷|村|镇)"
            r"\s?\d{1,5}\s?(?:号|弄)?(?:\s?\d{1,5}\s?(?:室|栋|单元|号楼)){0,4}"
        ),
        None,
    ),
    (
        Reason.PHI_NETWORK,  # with a part of three digits, or behind its label: versions have four parts too
        re.compile(
            rf"(?<![\d.])(?=(?:\d{{1,3}}\.){{0,3}}\d{{3}}){_IP}(?!\d|\.\d)"
            rf"|\bip(?:v4)?(?: address)?\s?(?:is|:|=)?\s?{_IP}",
            re.I,
        ),
        _is_network,
    ),
    *identity_dates.RULES,
)
"""In the order in which they are tried; what one has taken the later ones leave."""


_NUMERIC = re.compile(r"\d[./_-] ?\d|\d{8}|[年년]")
_FIRST_LOOK: dict[re.Pattern[str], re.Pattern[str]] = {
    identity_dates.AGE: re.compile(r"9\d|1[01]\d|ninet|hundred", re.I),
    identity_dates.SEXED_AGE: re.compile(r"(?:9\d|1[01]\d) ?[yYmMfF/-]"),
    identity_dates.MONTH_YEAR: re.compile(r"(?:19|20)\d\d"),
    identity_dates.GERMAN_PARTIAL: re.compile(r"\d\.\d{1,2}\."),
    identity_dates.NUMERIC_PARTIAL: re.compile(r"\d/\d"),
}
"""What a text must hold for a pattern to match at all, where no piece of a word tells."""
_OLD = ("9", "10", "11", "ninet", "hundred")
_HOUSE_NUMBER = re.compile(r"\d[A-Za-z]?,? [A-Z\u00c0-\u00de]")
_POSTED = re.compile(r"\d[A-Z]{2}")
_THREE = re.compile(r"\d(?:[-./ ]?\d){2}")
_DOTTED = re.compile(r"\d\.\d{1,64}\.\d")


class _Needs(NamedTuple):
    """What a text must hold for a rule to match: the fewest digits, one of some pieces, and what a first look finds."""

    digits: int
    pieces: tuple[str, ...]
    first: re.Pattern[str] | None
    rule: Rule
    quick: re.Pattern[str] | None
    """The pattern for a text of lower case."""
    is_near: bool
    """Whether nothing of a match stands far from a digit."""


def _needs(rule: Rule) -> _Needs:
    reason, pattern, holds = rule
    first, read = _FIRST_LOOK.get(pattern), pieces_of(pattern)
    several = sum(len(piece) < 2 and piece.isascii() for piece in read) > 2  # single letters stand in every text
    pieces = () if several or reason is Reason.PHI_NETWORK else read
    pieces = _OLD if pattern is identity_dates.AGE else pieces
    if reason is Reason.PHI_NETWORK:
        digits, first = 4, _DOTTED
    elif reason is Reason.PHI_PHONE:
        digits = 4 if "pager" in pattern.pattern or "bleep" in pattern.pattern else 7
    elif reason in (Reason.PHI_SOCIAL_SECURITY, Reason.PHI_NATIONAL_ID):
        digits = 8 if reason is Reason.PHI_SOCIAL_SECURITY else 5
    elif reason is Reason.PHI_RECORD_NUMBER:
        digits, first = 3, _DOTTED if holds is _is_uid else _THREE if holds is not None else first
    elif reason is Reason.PHI_ADDRESS:
        digits, first = 1, _HOUSE_NUMBER if holds in (_is_house, _is_home) else first if pieces else _POSTED
    else:
        digits = 0 if reason in (Reason.PHI_AGE, Reason.PHI_EMAIL) else 1
    is_near = digits > 0 and reason is not Reason.PHI_ADDRESS
    return _Needs(digits, pieces, first, rule, lowered(pattern), is_near)


_DIGIT = re.compile(r"\d")
_RULES = tuple(_needs(rule) for rule in STRUCTURED)
_MONTHS = len(_RULES)
_PIECES = Index([*(needs.pieces for needs in _RULES), pieces_of(re.compile(identity_dates.MONTH))])


def structured_in(text: str, low: str) -> Iterator[tuple[Reason, Iterator[tuple[int, int]]]]:
    """What each rule finds in ``text`` (``low``: in lower case); most texts hold little of what a rule needs.

    Nearly all rules need digits, and are tried around them alone.
    """
    digits = len(_DIGIT.findall(text))
    near = around_digits(text)
    threes = set().union(*(threes_of(low[start:stop]) for start, stop in near)) if near else threes_of(low)
    told = _PIECES.found_in(low, threes)
    for number, needs in enumerate(_RULES):
        if digits < needs.digits or (needs.pieces and number not in told):
            continue
        if needs.first is not None and needs.first.search(text) is None:
            continue
        if needs.rule[1] is identity_dates.DATE and _MONTHS not in told and not _NUMERIC.search(text):
            continue
        yield needs.rule[0], _matches(needs, text, low, near if needs.is_near else [(0, len(text))])


def _matches(needs: _Needs, text: str, low: str, places: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    _, pattern, holds = needs.rule
    for start, stop in places:
        for found in needs.quick.finditer(low, start, stop) if needs.quick else pattern.finditer(text, start, stop):
            real = pattern.match(text, found.start()) if needs.quick else found
            if real is not None and (holds is None or holds(real)):
                yield real.span()
