"""Addresses in text: streets with a number, towns with a postcode, boxes; American, British and European forms."""

from __future__ import annotations

import re

from infimed_plugins.quality.identity_rule import Rule
from infimed_plugins.quality.reasons import Reason

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
_STATES = (
    "A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|P[AR]|RI|S[CD]|T[NX]|UT|V[AT]"
    "|W[AIVY]|AS|FM|GU|M[HP]|PW|VI"
)
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


def is_house(found: re.Match[str]) -> bool:
    """Not the number of a figure, a case or a slice."""
    if found[0].rstrip().endswith("Way") and not re.search(r"\d{2}", found[0][:3]):
        return bool(_HOME.search(found.string, max(0, found.start() - 48), found.start()))
    return not _FIGURE.search(found.string, max(0, found.start() - 16), found.start())


def is_home(found: re.Match[str]) -> bool:
    """Behind a word that says who lives there, or with a postcode or a flat."""
    known = _HOME.search(found.string, max(0, found.start() - 48), found.start())
    return bool(known) or (bool(re.search(r"\d{5}|\d[A-Z]{2}$|Apt|Suite", found[0][6:])) and is_house(found))


def is_place(found: re.Match[str]) -> bool:
    """Not a code of an examination or the number of a figure."""
    return not _SCANNED.match(found[0]) and not _FIGURE.search(found.string, max(0, found.start() - 16), found.start())


_HOUSE_NUMBER = re.compile(r"\d[A-Za-z]?,? [A-Z\u00c0-\u00de]")
_WAY = r"(?:Calle|C/|Avda\.?|Avenida|Plaza|Pl\.|Paseo|Camino|Carretera|Ronda|Rua|Travessa|Via|Viale|Corso|Piazza)"
_FRENCH_WAY = r"(?:[Rr]ue|[Bb]oulevard|[Bb]d|[Aa]venue|[Ii]mpasse|[Aa]llée)"
_FRENCH_WORD = r"(?:[Qq]uai|[Cc]hemin|[Cc]ours|[Pp]lace|[Ss]quare)"
_GERMANIC = r"(?:stra(?:ß|ss)e|str\.|weg|gasse|platz|allee|straat|laan|gracht|plein|gatan|vägen)"
_TOWN_BEHIND = (
    r"(?:, ?(?:\d{1,3}[º°ª.]?(?: ?[A-Z]\b)?"
    r"|(?:piso|planta|bajo|esc\.|int\.|scala|appt?\.?|bât\.?|étage|bus|Whg\.?) ?\w{0,3}))?"
    rf"(?:, ?(?:[A-Z]{{1,2}}-)?(?:\d{{4}} ?[A-Z]{{2}}|\d{{2}}-\d{{3}}|\d{{3}} ?\d{{2}}|\d{{4,5}}) {_WORD})?"
)
"""A floor or a flat, and the town with its postcode."""
_MAY_BE_EUROPEAN = re.compile(rf"{_WAY}|{_FRENCH_WAY}|{_FRENCH_WORD}|{_GERMANIC}$|\d[a-z]?,$")
RULES = (
    Rule(
        "street",
        Reason.PHI_ADDRESS,
        re.compile(rf"{_HOUSE}{_STREET}\b\.?{_FLAT}{_REGION}?"),
        is_house,
        first=_HOUSE_NUMBER,
        word=re.compile(rf"^{_STREET}\b"),
        is_near=False,
    ),
    Rule(
        "street that is a word",
        Reason.PHI_ADDRESS,
        re.compile(rf"{_HOUSE}{_WEAK_STREET}\b\.?{_FLAT}{_REGION}?"),
        is_home,
        first=_HOUSE_NUMBER,
        word=re.compile(rf"^{_WEAK_STREET}\b"),
        is_near=False,
    ),
    Rule(
        "post-office box",
        Reason.PHI_ADDRESS,
        re.compile(r"\b(?:P\.? ?O\.?|(?:PSC|Unit|CMR) \d{1,6},?) Box \d{1,8}", re.I),
        word=re.compile("^Box$", re.I),
        is_near=False,
    ),
    Rule(
        "town and zip",
        Reason.PHI_ADDRESS,
        re.compile(
            rf"\b(?:{_TOWN},? (?:{_STATES})|(?:US\w{{1,4}} [A-Z]\w{{1,20}}, )?(?:APO|FPO"
            rf"|DPO),? [A-Z]{{2}}),? \d{{5}}(?:-\d{{4}})?\b"
        ),
        is_place,
        digits=5,
        word=re.compile(r"\d{5}"),
        is_near=False,
    ),
    Rule(
        "postcode, British",
        Reason.PHI_ADDRESS,
        re.compile(rf"\b(?:{_TOWN},? )?{_POSTCODE}\b"),
        is_place,
        digits=2,
        word=re.compile(r"\d[A-Z]{2}"),
        is_near=False,
    ),
    Rule(
        "postcode, Canadian",
        Reason.PHI_ADDRESS,
        re.compile(r"(?<![\w-])[ABCEGHJ-NPRSTVXY]\d[A-Z] \d[A-Z]\d(?![\w-])"),
        is_place,
        digits=3,
        word=re.compile(r"[A-Z]\d[A-Z]$"),
        is_near=False,
    ),
    Rule(
        "street, European",
        Reason.PHI_ADDRESS,
        re.compile(
            rf"\b{_WAY} ?(?:d[eo]l? |d[ao]s? |dell[ae] |dei )?(?:l[ao]s? )?{_WORD}"
            rf"(?: (?:de |del |la )?{_WORD}){{0,3}},? (?:n[.º°]+ ?)?\d{{1,4}}{_TOWN_BEHIND}"
            rf"|\b\d{{1,4}},? (?:bis |ter )?(?:{_FRENCH_WAY}|{_FRENCH_WORD}(?= d[eu' ’s]))"
            rf" (?:d[eu]s? )?(?:l[ae]s? |[ld]['’])?{_WORD}(?: (?:de |du |des |la )?{_WORD}){{0,3}}"
            rf"{_TOWN_BEHIND}"
            rf"|\b[A-ZÄÖÜ][\wäöüß]{{2,24}}{_GERMANIC} \d{{1,4}}[a-z]?{_TOWN_BEHIND}"
            rf"|\b{_WORD} \d{{1,4}}[a-z]?, (?:[A-Z]{{1,2}}-)?\d{{4,5}} [A-ZÄÖÜ][a-zäöüß]\w{{2,24}}"
        ),
        word=_MAY_BE_EUROPEAN,
        is_near=False,
    ),
    Rule(
        "postcode, labelled",
        Reason.PHI_ADDRESS,
        re.compile(
            r"\b(?:zip(?: ?code)?|postal code|postcode)\s?(?:is|:"
            r"|=)?\s?(?=[A-Z]{0,2}\d)[A-Z\d]{3,5}[- ]?[A-Z\d]{0,4}\b",
            re.I,
        ),
        word=re.compile(r"zip|postal|postcode", re.I),
        is_near=False,
    ),
    Rule(
        "street, Chinese",
        Reason.PHI_ADDRESS,
        re.compile(
            r"(?:[\u4e00-\u9fff]{2,7}(?:省|市|自治区))?[\u4e00-\u9fff]{2,7}(?:市|区|县)[\u4e00-\u9fff]{1,10}(?:路|街|道|巷|村|镇)"
            r"\s?\d{1,5}\s?(?:号|弄)?(?:\s?\d{1,5}\s?(?:室|栋|单元|号楼)){0,4}"
        ),
        word=re.compile("[市区县]"),
        is_near=False,
    ),
)
"""In the order in which they are tried; a match is an address if the check behind its pattern holds."""
