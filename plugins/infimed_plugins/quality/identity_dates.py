"""Dates and ages of 90 and more in text: English, Spanish, French, German and Chinese forms, and what only looks so."""

from __future__ import annotations

import calendar
import re

from infimed_plugins.quality.identity_rule import Rule
from infimed_plugins.quality.reasons import Reason

MONTH = (
    r"(?:jan(?:uary|vier|uar)?|feb(?:ruary|ruar)?|f[ée]vrier|mar(?:ch|s)?|m[äa]rz|apr(?:il)?|avril|may|mai"
    r"|june?|juin|juni"
    r"|july?|juillet|juli|aug(?:ust)?|ao[ûu]t|sep(?:t(?:ember|embre)?)?|oct(?:ober|obre)?|okt(?:ober)?"
    r"|nov(?:ember|embre)?"
    r"|dec(?:ember)?|d[ée]cembre|dez(?:ember)?|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|setiembre"
    r"|octubre|noviembre|diciembre|janvier|septembre|gennaio|febbraio|maggio|giugno|luglio|settembre|ottobre|dicembre"
    r"|janeiro|fevereiro|março|maio|junho|julho|setembro|outubro|novembro|dezembro"
    r"|januari|februari|maart|mei|augustus|ene|abr|ago|dic|fev|gen|giu|lug|ott|mrt"
    r"|marts|maj|desember|augusti|mart|stycznia|lutego|marca|kwietnia|maja|czerwca|lipca|sierpnia|września|października"
    r"|listopada|grudnia|ledna|února|března|dubna|května|června|července|srpna|září|října|listopadu|prosince"
    r"|ocak|şubat|nisan|mayıs|haziran|temmuz|ağustos|eylül|ekim|kasım|aralık"
    r"|ianuarie|februarie|martie|aprilie|iunie|iulie|septembrie|octombrie|noiembrie|decembrie"
    r"|(?:tammi|helmi|maalis|huhti|touko|kesä|heinä|elo|syys|loka|marras|joulu)kuuta"
    r"|января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря)\.?"
)
_DAY = r"(?:[12]\d|3[01]|0?[1-9])(?:st|nd|rd|th|er|º)?"
_BARE_DAY = r"(?:[12]\d|3[01]|0?[1-9])"
_TWO_DAY = r"(?:[12]\d|3[01]|0[1-9])"
_YEAR = r"(?:19|20)\d\d"
_COMPACT = rf"{_YEAR}(?:0[1-9]|1[0-2]){_TWO_DAY}"
_TIME = r"(?:(?:T| |, )?[0-2]?\d:[0-5]\d(?::[0-5]\d(?:[.,]\d{1,9})?)?(?: ?[AaPp]\.?[Mm]\b)?(?:Z|[+-]\d\d:?\d\d)?)?"

FULL_DATE = (
    rf"(?:{_YEAR}(?:[/._-]|\. )(?:0?[1-9]|1[0-2])(?:[/._-]|\. ){_BARE_DAY}{_TIME}"
    rf"|{_COMPACT}(?:T?[0-2]\d[0-5]\d(?:[0-5]\d(?:\.?\d{{1,9}})?)?)?"
    rf"|{_BARE_DAY}[/-]{_BARE_DAY}[/-](?:{_YEAR}|\d\d){_TIME}|{_BARE_DAY}\. ?{_BARE_DAY}\. ?{_YEAR}{_TIME}"
    rf"|{_TWO_DAY}\.{_TWO_DAY}\.\d\d"
    rf"|{_DAY}(?: of| de)?[ ./-]{{0,2}}{MONTH}(?: of| de| del)?,?[ ./-]{{0,2}}(?:{_YEAR}|(?<=[/-])\d\d"
    rf"|(?<=\D)['’]\d\d){_TIME}"
    rf"|{MONTH} ?{_DAY},? {_YEAR}{_TIME}|{MONTH}[ /-]{_BARE_DAY}[ /-](?:{_YEAR}|\d\d)"
    r"|(?:(?:19|20)\d\d|(?:令和|平成|昭和|大正) ?(?:\d{1,2}|元))"
    r" ?[年년] ?\d{1,2} ?[月월](?: ?\d{1,2} ?[日号號일])?)(?!\d)"
)
"""A date with its day, month and year, and the time behind it."""

_FULL_MONTH = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December"
    r"|JANUARY|FEBRUARY|MARCH|APRIL|JUNE|JULY|AUGUST|SEPTEMBER|OCTOBER|NOVEMBER|DECEMBER)"
)
_LOWER_MONTH = r"(?:january|february|april|june|july|august|september|october|november|december)"
_SHORT_MONTH = r"(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.?"
_SPANISH_MONTH = (
    r"(?i:enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|setiembre|octubre|noviembre|diciembre"
    r"|janeiro|fevereiro|março|maio|junho|julho|setembro|outubro|novembro|dezembro)"
)
_OTHER_MONTH = (
    r"(?i:januar|februar|m[äa]rz|juni|juli|oktober|dezember|janvier|février|fevrier|mars|avril|mai"
    r"|juin|juillet|août|septembre"
    r"|octobre|novembre|décembre|gennaio|febbraio|marzo|aprile|maggio|giugno|luglio|agosto|settembre|ottobre|dicembre"
    r"|januari|februari|maart|mei|augustus|stycznia|lutego|kwietnia|czerwca|lipca|sierpnia|września|października"
    r"|listopada|grudnia|ocak|şubat|nisan|mayıs|haziran|temmuz|ağustos|eylül|ekim|kasım|aralık"
    r"|января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря)"
)
"""Months of German, French, Italian, Dutch, Polish, Turkish and Russian that are no words of English."""
PARTIAL_DATE = re.compile(
    rf"(?<![\w./-])(?:(?:{_FULL_MONTH}|{_LOWER_MONTH}|{_SHORT_MONTH}"
    rf"|(?!(?i:mayo) (?:\d|1[0-2])\b){_SPANISH_MONTH}) {_DAY}"
    r"(?! ?(?:patients|cases|subjects|%|mg|mm|cm))"
    rf"|{_DAY}(?: of)?[ -](?:{_FULL_MONTH}|{_LOWER_MONTH}|{_SHORT_MONTH})"
    rf"|{_BARE_DAY} de {_SPANISH_MONTH}|{_BARE_DAY}(?:er|º|\.)? ?{_OTHER_MONTH})(?![\w/]|[.-]\d)"
    r"|(?<!\d)\d{1,2} ?月 ?\d{1,2} ?[日号號]"
)
"""A day and a month without a year; up to 12, "Mayo 3" is the score of a colitis."""
MONTH_YEAR = re.compile(
    rf"(?<![\w./-])(?:(?:{_FULL_MONTH}|{_SHORT_MONTH}|{_SPANISH_MONTH}|{_OTHER_MONTH})(?: of| de| del)?,? |"
    rf"(?:0?[1-9]|1[0-2])/){_YEAR}(?![\w/]|[.-]\d)"
)
"""A month of a year, as people name the examination before this one."""
_DOTTED_PARTIAL = rf"(?i:\b(?:am|vom|bis|zum|seit|ab|den|le|du|il|dal)) (?:{_BARE_DAY})\.(?:0?[1-9]|1[0-2])\.(?!\d)"
_DOTTED_PARTIAL += (
    rf"|(?i:\b(?:am|vom|bis|zum|seit|ab|den|dem|der)) {_BARE_DAY}\. ?(?:{_FULL_MONTH}|{_SHORT_MONTH})(?!\w)"
)
GERMAN_PARTIAL = re.compile(_DOTTED_PARTIAL)
TIME_OF = re.compile(
    r"\b(?:study|series|acquisition|content|instance ?creation"
    r"|scheduled\w*)[ _]?time\b\s?[:=]?\s?\d{4,6}(?:\.\d{1,6})?\b",
    re.I,
)
"""The time of day in a header, behind its name."""
_CUE = (
    r"(?:(?:re)?admi(?:t|ssion)\w*|d/?c['’]?d?|discharge\w*|seen|test(?:ed|s)?(?: positive"
    r"| negative)?|taken|performed|done"
    r"|obtained|dated?"
    r"|presented|imaged|scanned|exam(?:ined|ination)?|surgery|visit(?:ed)?|until|since|till|follow-?up|repeated|drawn"
    r"|collected|started|stopped|died|deceased|transferred|(?:ex|in)tubated|operated|returned"
    r"|dictated|signed|scheduled"
    r"|swab|film|scan|radiograph|x-?ray|CT|MRI|CXR|study|report|procedure|appointment|compared (?:to|with)|prior)"
)
NUMERIC_PARTIAL = re.compile(r"(?<![\w./-])(?:0?[1-9]|1[0-2])/(?:[12]\d|3[01]|0?[1-9])(?![\w/]|\.\d)")
_CUE_BEFORE = re.compile(
    rf"\b(?P<cue>{_CUE}(?: (?:on|in|from|of|at|dated|taken|performed|done))?|on|as of)[: ] ?$", re.I
)
_SAYS_WHEN = re.compile(
    r"(?:\b(?:on|readmitted|d/?c['’]?d?|as of|since|until|till|dated?|taken|performed|seen"
    r"|admitted|discharged|admission|discharge|visit(?:ed)?"
    r"|tested?(?: positive| negative)?|died|follow-?up|prior))$",
    re.I,
)
"""Words that say when, behind which a month comes; behind the others a share of something does as often."""
_RATIO_BEHIND = re.compile(
    r" ?(?:[%x×/]|of\b|out\b|strength|lymph|mm|cm|mg|ml|(?!was|has|shows|is|this|demonstrates|reveals)[a-z]{2,20}s\b"
    r"|(?:positive|negative|blood|left|right) \w)"
)
_UNIT_BEHIND = re.compile(
    r"[ -]?(?:%|mm|cm|m\b|kg|g\b|mg|µg|mcg|ml|mL|dB|Hz|ms|s\b|h\b|hrs?|hours|days?|weeks?|wks?|months?|mo\b"
    r"|years?|yrs?|min"
    r"|kV|mA|Gy|French|Fr\b|units?|IU|mmHg|x\b|°)"
)
_VERSION_BEFORE = re.compile(r"(?:version|ver|v|release|section|chapter|sizes?|PMID|NCT|ISRCTN|doi|/)[:. ]*$", re.I)
_POPULATION = re.compile(
    r"patients|studies|articles|published|publications|literature|medline|pubmed|database|records|cases|women"
    r"|men|children"
    r"|participants|subjects|infants|searche?d?\b|enrol|recruit|data\b|consecutive|period|hospitals|survey"
    r"|trial|examinations"
    r"|cohort|individuals|births|deaths|all \w|reports|reviewed|retrospective|adults",
    re.I,
)
_RANGE_BEFORE = re.compile(
    r"(?: to|[-–—]| and| until| through| till|between|from|during|and ended|ending),?(?: the)? ?$", re.I
)
_RANGE_BEHIND = re.compile(r",?\s?(?:to\b|[-–—]|and\b|until\b|through\b|till\b)(?: the)?\s?\w", re.I)
DATE = re.compile(rf"(?=[\dJFMASONDE])(?<![\d/-])(?<!\d\.)(?<![A-Za-z](?=[1-9]/))(?:{FULL_DATE})(?![./-]\d)", re.I)
_NUMBERS = re.compile(r"\d+")


def is_date(found: re.Match[str]) -> bool:
    """Not three measures or a version, and not the period of a study over many people."""
    text, (start, stop) = found.string, found.span()
    numbers = [int(number) for number in _NUMBERS.findall(found[0][:10])]
    three = len(numbers) == 3 and len(found[0]) <= 8
    if three and (
        _UNIT_BEHIND.match(text, stop)
        or _VERSION_BEFORE.search(text, max(0, start - 12), start)
        or (numbers[0] > 12 and numbers[1] > 12)
    ):
        return False
    if re.match(r"\d{8}$", found[0]) and _VERSION_BEFORE.search(text, max(0, start - 12), start):
        return False
    return not _of_a_period(found)


def _of_a_period(found: re.Match[str]) -> bool:
    """One end of a range in a sentence about many people."""
    text, (start, stop) = found.string, found.span()
    begins = re.search(
        r"\b(?:beginning|starting|begun|started|as of|since|before|after|until|by|from)(?: on)? $",
        text[max(0, start - 16) : start],
    )
    if not (begins or _RANGE_BEHIND.match(text, stop) or _RANGE_BEFORE.search(text, max(0, start - 14), start)):
        return False
    return speaks_of_many(text, start, stop)


_OF_ONE = re.compile(
    r"\b(?:this|the|his|her|a|our) (?:\d+[- ]years?[- ]old )?(?:patient|man|woman|boy|girl|male|female)\b|\d ?(?:yo"
    r"|y/o|F|M)\b"
)


def speaks_of_many(text: str, start: int, stop: int) -> bool:
    """Whether the words around a place tell of a study over many people and of no single patient."""
    around = f"{text[max(0, start - 200) : start]}|{text[stop : stop + 160]}"
    return bool(_POPULATION.search(around)) and not _OF_ONE.search(around)


def is_partial(found: re.Match[str]) -> bool:
    """A day and month by their words."""
    if re.match(r"(?:May|March|MARCH) ", found[0]) and re.match(r"\s[a-z]{3,20}s\b", found.string[found.end() :][:24]):
        return False
    if re.search(r"\bOct\b", found[0]) and not _CUE_BEFORE.search(
        found.string, max(0, found.start() - 28), found.start()
    ):
        return False  # a gene, and a way to look at the retina
    return not _of_a_period(found)


def is_month_of_year(found: re.Match[str]) -> bool:
    """Behind a word that says what was done then, or in a sentence about one person."""
    text, (start, stop) = found.string, found.span()
    if "/" in found[0] and _RATIO_BEHIND.match(text, stop):
        return False
    before = _RANGE_BEFORE.search(text, max(0, start - 14), start)
    if _RANGE_BEHIND.match(text, stop) or (before and "from" not in before[0]):
        return False
    told = _CUE_BEFORE.search(text, max(0, start - 28), start) or _OF_ONE.search(text, max(0, start - 160), stop + 80)
    return bool(told) and not speaks_of_many(text, start, stop)


_ON_A_DAY = re.compile(r"\bon (?:0?[1-9]|1[0-2])/\d{1,2}\b[^.]*[a-z] $")


def is_numeric_partial(found: re.Match[str]) -> bool:
    """``3/27`` behind a word that says when, and no share, scale or level."""
    cue = _CUE_BEFORE.search(found.string, max(0, found.start() - 28), found.start())
    if _RATIO_BEHIND.match(found.string, found.end()):
        return False
    month, day = (int(part) for part in found[0].split("/"))
    if cue is None:  # "began on 5/12 and worsened 5/20": a second one in the words around
        return day > 12 and _ON_A_DAY.search(found.string, max(0, found.start() - 80), found.start()) is not None
    said_when = _SAYS_WHEN.search(cue["cue"]) is not None
    if month < day < 7 and (not said_when or re.match(r": ?\d/\d", found.string[found.end() :])):
        return False  # "study 1/3: 2/3 of the vessel": a share
    sure = day > 12 or cue["cue"].lower() != "on"
    return day <= calendar.monthrange(2000, month)[1] and (sure or month != day - 1)


_OLD = r"(?:9\d|1[01]\d)"
_UNIT_WORD = r"(?:one|two|three|four|five|six|seven|eight|nine)"
_OF_AGE = r"(?: is| was| of| de)?"
_OLD_WORD = (
    rf"(?:ninety(?:[- ]{_UNIT_WORD})?|(?:one|a)[- ]hundred(?:[- ](?:and[- ])?(?:{_UNIT_WORD}|ten|eleven|twelve))?"
    r"|noventa(?: (?:y|e) \w{2,6})?|novant\w{1,7}|quatre-vingt-(?:dix(?:-\w{4,5})?|onze|douze|treize|quatorze"
    r"|quinze|seize)|nonante(?:[- ](?:et[- ])?\w{2,6})?|(?:\w{3,6}und)?neunzig)"
)
"""Ninety and more in words: English, Spanish, Portuguese, Italian, French and German."""
NUMBER_WORDS = r"(?:ninet|hundred|novant|novent|nonant|neunzig|quatre-vingt)"
"""Of which one stands in every age of ninety and more that is told without digits."""
AGE = re.compile(
    rf"(?<![\w.,/])0?{_OLD}[ -]?(?:years?[- ](?:old|of age)|yrs?\.?[- ]?(?:old|of age)"
    rf"|y\.?[-/ ]?o\.?(?:[MF]\b)?|year[- ]?old"
    r"|(?:years?|yrs?|y)[ -](?:male|female|man|woman|lady|gentleman|[MF]\b)"
    r"|años|anos|ans|anni|jaar|Jahre alt|jährig\w{0,2})(?!\w)"
    rf"|\b{_OLD_WORD}[- ]?(?:years?[- ](?:old|of[- ]age)\b(?!s)|años|anos|ans|anni"
    rf"|Jahre\b(?: alt)?|jährig\w{{0,2}})(?!\w)"
    rf"|\b(?:aged?|edad|âge|(?:she|he|who) (?:is|was|turned|has turned)){_OF_AGE}"
    rf" {_OLD_WORD}(?=\.?$|[.,;)] |,? (?:and|or|years?)\b)"
    rf"|(?:\b(?:aged?|edad|Alter|âge)(?: ?[/,] ?(?:sex|gender))?(?: ?\(?(?:in )?(?:years|yrs)\)?)?"
    rf"{_OF_AGE}|AGE/SEX)\s?[:=]?\s?0?{_OLD}"
    r"(?:\s?Y|\s?(?:years?|yrs?|años)(?: old| of age)?)?(?![\w%-]|[.,]\d)"
    rf"|(?<![\w.]){_OLD} ?(?:周?岁|歳|才|세|ans\b|Jahre\b)|年龄\s?[：:]?\s?{_OLD}(?!\d)"
    rf"|(?<![\w.])[MF],? {_OLD} ?(?:y|yrs?|years?)(?!\w)"
    rf"|(?:^|(?<=[,;] )){_OLD} ?(?:years?|yrs?\.?)(?=[,;] (?!of|since|the|later|before|after|ago|from|until))"
    r"|\b(?:woman|man|lady|gentleman|widow(?:er)?|male|female)(?: of|,)"
    r" 9\d(?: ?(?:years|yrs))?(?=[,;.]? ?(?:$|[a-z(]|[,;.](?!\d)))"
    r"(?! ?(?:%|percent|kg|mm|cm|mg|m\b|beats|bpm|patients|of\b|cases|subjects|participants))"
    r"|\b(?:she|he|who) (?:is|was|turned|has turned) 9\d(?: ?(?:years|yrs)\.?)?(?=\.?$|\. |,? and |, )"
    rf"|(?<![\w./])(?:[MFmf]/9\d|9\d,? ?(?:[♀♂]|(?:male|female|man|woman)\b))(?![\w/%.-])",
    re.I,
)
SEXED_AGE = re.compile(
    r"(?<![\w.°/+-])(?:9\d ?y?[/-]?|1[01]\d[/-]?|0(?:9\d|1[01]\d)Y ?[/-]? ?)[MF](?![\w/])(?! ?[:=]|\.\d|[- ]\d)"
    r"|(?<![\w.])(?:0(?:9\d|1[01]\d)|1[01]\d)Y\b"
)
_DEGREES = re.compile(
    r"temp|t-?max|fever|febrile|degrees|°|\d ?[-–] ?$|\b(?:T|at|to|of|was|n|N|total|and) ?=? ?$", re.I
)
_MANY = re.compile(
    r"(?:[<>≥≤=~±]|\bover|above|under|than|least|most|beyond|\d ?(?:to|and|through|-|–|—)|before|up to|until"
    r"|between)\s?$",
    re.I,
)
_OLDER = re.compile(
    r"[ ,]*(?:\(?(?:and|or|&)[ -](?:older|over|above|more|up|younger|under|less)|days|weeks|months|hours|to \d"
    r"|[–—±]|-\d)"
)


def is_age(found: re.Match[str]) -> bool:
    """The age of one person, not the bound of a group."""
    text, (start, stop) = found.string, found.span()
    if re.search(
        r"\b(?:persons|people|patients|subjects|participants|women|men|adults|individuals|those)[ ,]*$",
        text[max(0, start - 16) : start],
    ):
        return False
    return not (_MANY.search(text, max(0, start - 16), start) or _OLDER.match(text, stop))


def is_sexed_age(found: re.Match[str]) -> bool:
    """``94F`` where no temperature is told, and no number of months or millions."""
    text = found.string
    if found[0] == "090Y":  # stands for 90 and above in copies without identity
        return False
    if len(found[0]) > 4 and found[0][0] == "0":
        return True
    if found[0][0] == "1" and not re.match(r",? (?:with|who|present|admitted|c/o|s/p)", text[found.end() :][:14]):
        return False
    return not _DEGREES.search(text, max(0, found.start() - 14), found.start())


BIRTH = re.compile(
    r"\b(?:dob|d\.o\.b\.?|d/o/b|date[ _]of[ _]birth|birth[ _]?date|born(?: on)?|birthday|geb(?:oren|\.)(?: am)?"
    r"|geburtsdatum"
    r"|(?:fecha|f\.) ?(?:de )?nac(?:imiento|\.)?|nacid[oa](?: el)?|n[ée]e? le|date de naissance|data de nascimento)"
    rf"\s?(?:is|was|:|=|-)?\s?(?:{FULL_DATE}|{MONTH} {_DAY}|{_DAY} (?:de )?{MONTH}|(?:0?[1-9]"
    rf"|1[0-2])/{_BARE_DAY})(?!\d)"
    rf"|(?:出生日期|出生年月日?|生日|生于)\s?[：:]?\s?{FULL_DATE}",
    re.I,
)

_MAY_BE_DATE = re.compile(
    r"(?:19|20)\d\d[/._-](?:\d|$)|(?:19|20)\d{6}|\d[/-]\d{1,2}[/-]\d|\d\.(?:\d{1,2}\.)?(?:$|\d{1,2}\.\d)|[年년]"
    rf"|{MONTH}(?:$|[\d,./'’-])",
    re.I,
)
_MAY_BE_DAY = re.compile(
    rf"(?:(?<![A-Za-z])|(?<=\der))(?:{_FULL_MONTH}|{_SHORT_MONTH}|{_SPANISH_MONTH}|{_OTHER_MONTH})(?!\w)|月", re.I
)
RULES = (
    Rule(
        "age",
        Reason.PHI_AGE,
        AGE,
        is_age,
        digits=0,
        word=re.compile(rf"(?<!\d)0?{_OLD}(?!\d)|{NUMBER_WORDS}", re.I),
        is_near=False,
    ),
    Rule(
        "age and sex",
        Reason.PHI_AGE,
        SEXED_AGE,
        is_sexed_age,
        digits=2,
        word=re.compile(r"9\d|1[01]\d"),
        first=re.compile(rf"{_OLD} ?[yYmMfF/-]"),
        is_near=False,
    ),
    Rule(
        "date",
        Reason.PHI_DATE,
        DATE,
        is_date,
        word=_MAY_BE_DATE,
    ),
    Rule(
        "day of a month",
        Reason.PHI_DATE,
        PARTIAL_DATE,
        is_partial,
        word=_MAY_BE_DAY,
    ),
    Rule(
        "month of a year",
        Reason.PHI_DATE,
        MONTH_YEAR,
        is_month_of_year,
        digits=4,
        word=re.compile(r"(?:^|\d/)(?:19|20)\d\d(?!\w)"),
    ),
    Rule(
        "day, German",
        Reason.PHI_DATE,
        GERMAN_PARTIAL,
        word=re.compile(r"\d\.(?:$|[A-Z\d])"),
        has_pieces=True,
    ),
    Rule(
        "time",
        Reason.PHI_DATE,
        TIME_OF,
        digits=4,
        has_pieces=True,
    ),
    Rule(
        "day in numbers",
        Reason.PHI_DATE,
        NUMERIC_PARTIAL,
        is_numeric_partial,
        digits=2,
        word=re.compile(r"(?<![\w./-])(?:0?[1-9]|1[0-2])/\d"),
    ),
)
"""In the order in which they are tried."""
