"""Names of people in text: behind a title, a label or a role, in the forms of DICOM and tables, and by given names."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator

from infimed_plugins.quality.identity_places import HINTS, hospitals_in
from infimed_plugins.quality.identity_words import (
    AMBIGUOUS,
    EPONYMS,
    GENERIC,
    NO_SURNAME,
    ORDINARY,
    PLAIN,
    SURNAMES_TOO,
)
from infimed_plugins.quality.texts import word_list

_UPPER = r"A-Z\u00c0-\u00de\u0100-\u017d"
_TOKEN = rf"[{_UPPER}](?:[\w'’]|-(?=\w)){{0,30}}"
_INITIAL = rf"[{_UPPER}]\.?"
_PARTICLE = r"(?:van|von|de|der|den|la|las|los|del|dos|da|di|bin|al|el|y|e|le|du|ter)"
_NAME = rf"(?:{_TOKEN}(?:,? (?:{_PARTICLE} ){{0,3}}(?:{_INITIAL}(?= [{_UPPER}])|{_TOKEN})){{0,3}})"
_TWO = (
    rf"(?:(?:[{_UPPER}]\. ?){{1,2}}{_TOKEN}"
    rf"|{_TOKEN}(?: {_INITIAL})?,? (?:{_PARTICLE} ){{0,3}}{_TOKEN}(?: (?:{_PARTICLE} ){{0,2}}{_TOKEN})?)"
)
_DEGREE = (
    r"(?:,? (?:M\.D|MD|Ph\.?D|M\.?B\.?B\.?S|MBChB|MBBCh|FRC[RSP]|MRC[SP]|FAC[RCS]|FESC|DDS|DMD|DPM"
    r"|PA-C|ARNP|CRNP|APRN|DNP"
    r"|PharmD|RT\(R\)|RDMS)\b|,? RT\(R\)|, (?:D\.?O|R\.?N|NP|RT|PA|LPN|MSc)\b)"
)
_TITLE = (
    r"(?:Mr|Mrs|Ms|Miss|Mx|Dr|DR|MRS|Drs|Dra|Prof|Professor|Doctor|Sr|Sra|Srta|Señor|Señora|Doña|Herr|Frau|Mme"
    r"|Mlle|Monsieur"
    r"|Madame|Signora|Signor|Senhora|Senhor|Mevrouw|Pani|Rev|Reverend|Captain|Sgt|Sergeant)"
)
_STAFF = (
    r"radiologist|physician|clinician|doctor|consultant|surgeon|technologist|technician|sonographer|operator|nurse"
    r"|referring(?: physician| doctor)?|attending(?: physician)?|resident|fellow|cardiologist|oncologist|pathologist"
    r"|provider|requested by|referred by|dictated by|signed(?: electronically)? by"
    r"|electronically signed by|reported by"
    r"|read by|performed by|reviewed by|reviewed with|discussed with|verified by|approved by"
    r"|interpreted by|ordered by"
    r"|transcribed by|seen by|attn|emergency contact|contact|médico|arzt|médecin"
)
_FAMILY = (
    r"next of kin|guardian|mother|father|wife|husband|spouse|son|daughter|brother|sister|cc"
    r"|patient|pt|subject|paciente"
)
_NAME_LABEL = (
    r"(?:patient(?:'s|s)?|pt\.?'?s?|full|last|first|sur|family|given|maiden|legal|subject(?:'s)?|mother(?:'s)?"
    r"|father(?:'s)?"
    r"|doctor(?:'s)?|physician(?:'s)?|contact)[ _-]?(?:full |last |first )?names?|name of (?:the )?patient"
    r"|patient \(name\)"
    r"|nombre(?: y apellidos)?(?: del paciente)?|apellidos?|nachname|vorname|prénom|cognome|nome|nom"
)
_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈"
    "姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤"
)
_CJK = r"\u4e00-\u9fff"
_TITLED = re.compile(
    rf"(?<![\w-]){_TITLE}(?:\.\s?|\s)(?:(?:Dr|Prof|med|dent|habil|univ)\. ?){{0,3}}"
    rf"(?P<name>(?:{_INITIAL} ){{0,2}}(?:{_PARTICLE} ){{0,3}}{_NAME})"
)
_INITIALS = re.compile(
    rf"(?<![\w-])(?:{_TITLE}(?:\. ?| )(?P<one>[{_UPPER}])\.?(?![\w’'.-]|\)| [{_UPPER}])"
    rf"|(?i:initials|pt|patient)\b\.?\s?[:=]?\s?(?P<two>[{_UPPER}]\.\s?[{_UPPER}]\.(?:\s?[{_UPPER}]\.)?)"
    r"|(?i:initials\s?[:=]\s?)(?P<three>[A-Z]{2,3})\b"
    r"|(?i:transcribed|dictated|typed|signed|reported)(?: by)?\s?:?\s?(?P<four>[a-z]{2,3}/[a-z]{2,3})\b)"
)
"""Initials of a person: behind a title or a label, and those of a typist."""
_MONSIEUR = re.compile(
    rf"(?<![\w.-])M\. (?P<name>{_NAME})(?=,? (?:\d{{1,3}} ans|se |est |a |présente|âgé|né |consulte"
    rf"|souffre|vient|sera|doit))"
)
_LABEL_WORDS = ("name", "nom", "apellido")
_LABELLED: tuple[re.Pattern[str], ...] = (
    re.compile(rf"\b(?i:{_NAME_LABEL})\s?(?:[:=]|is\b|：)\s?(?P<name>{_NAME})"),
    re.compile(r"\b(?i:(?:patient|pt\.?)(?:'s)?[ _]name)\s?[:=]\s?(?P<name>[^\W\d_]{2,24},? [^\W\d_]{2,24})"),
    re.compile(rf"(?:^|[\n;|.(]\s?|\t)(?i:name)\s?[:=]\s?(?P<name>{_NAME})"),
    re.compile(rf"\b(?i:{_NAME_LABEL}) (?P<name>{_TOKEN},? {_TOKEN})"),
)
"""What stands behind a title or a label is a name unless it is plainly none."""
_CHINESE: tuple[re.Pattern[str], ...] = (
    re.compile(
        rf"(?:姓名|患者姓名|病人姓名|联系人|家属|医师|医生|报告人|审核人|检查者|操作者)\s?[：:]\s?(?P<name>[{_CJK}]{{2,4}})"
    ),
    re.compile(
        rf"(?<![{_CJK}])(?:患者|病人)?(?P<name>[{_SURNAMES}][{_CJK}]{{1,2}})(?=[，,、 ]\s?(?:男|女)(?![{_CJK}]))"
    ),
)
_ROLES_COLON: tuple[re.Pattern[str], ...] = (
    re.compile(rf"\b(?i:{_STAFF})\s?[:=]\s?(?:Dr\.? )?(?P<name>(?:{_INITIAL} )?{_NAME})"),
    re.compile(rf"\b(?i:{_FAMILY})\s?(?:[:=]|\b(?:is named|named|called)\b)\s?(?P<name>{_NAME})"),
)
_ROLES: tuple[re.Pattern[str], ...] = (
    re.compile(rf"\b(?i:is named|was named|named|is called) (?P<name>{_TWO})"),
    re.compile(rf"\b(?i:{_STAFF}|{_FAMILY}),? (?P<name>{_TWO})(?=[\s,.;:)]|$)"),
    re.compile(
        rf"(?<![\w'’-])(?P<name>(?:[{_UPPER}]\. ?|{_TOKEN} ){{1,2}}?(?:[{_UPPER}]\.? ){{0,2}}{_TOKEN}){_DEGREE}"
    ),
    re.compile(
        rf"\b(?i:patient|pt\.?|paciente) (?P<name>{_TOKEN} {_TOKEN}),? (?:has|is|was|had|presents|presented"
        rf"|underwent|complains"
        r"|reports|came|seen|with|aged|tiene|presenta|\d)\b"
    ),
)
"""Behind a role and before a degree stand other words as often: each must be no word of the field or of every day."""
_CARET = re.compile(
    r"(?<![\w^'’-])(?P<name>(?:(?:van|von|de|der|den|la|del|di|da) ){0,3}"
    r"(?P<family>[^\W\d_][^\W\d_'’ -]{0,14}(?:['’ -][^\W\d_]{2,20}){0,2})\^"
    r"(?P<given>[^\W\d_][^\W\d_'’-]{0,30})(?![\d])(?:\^[\w. -]{0,40}){0,4})"
)
_RUN = re.compile(rf"(?<![\w'’-]){_TOKEN}(?:(?:,? |\. |-)(?:{_PARTICLE} ){{0,3}}{_TOKEN}){{1,7}}")
_PAIR = re.compile(rf"{_TOKEN}(?: {_INITIAL})?,? (?:{_PARTICLE} ){{0,3}}[{_UPPER}]")
_TOWNS = frozenset(("st", "saint", "san", "santa", "port", "fort", "mount", "mt"))
_TOWN_BEFORE = re.compile(r"\b(?:St|Saint|San|Santa|Port|Fort|Mount|Mt)\.? $")
_IS_A_PLACE = re.compile(
    r"(?:[ -]\w{1,20}){0,2}?[ -](?:Medical|Memorial|Health|Hospitals?|University|Universit\w+|College|School"
    r"|Cent(?:er|re)|Institut\w+"
    r"|Foundation|Clinic|Mission|International|Schedule|Inventory|Society|Association|Award|Trust|Library|Museum)\b"
)
"""What follows the name of a person after whom a place or a thing is called."""
_IN_RUN = re.compile(_TOKEN)
_NOBODY = re.compile(
    r"^[Xx]{2,}[-.,]?$|anonym|unknown|redacted|withheld|removed|de-?identified|\b(?:not|none|n/?a|patient"
    r"|subject|normal|blinded|available"
    r"|applicable|phantom|test|male|female|pending|unchanged|see|yes|no|as|per|same|above|below|the|this|an"
    r"|adult|infant|child)\b",
    re.I,
)
_SUFFIX = re.compile(
    r"(?:itis|oma|omas|osis|emia|aemia|pathy|ectomy|otomy|ology|ologist|graphy|gram|scopy|plasty|tion|tions"
    r"|sion|sis|ment|ness|ity"
    r"|ular|ous|ive|able|ible|ism|ment|ancy|ency|ance|ence|less|ful|ics|iasis|plegia|algia|rrhea|uria|trophy"
    r"|emic|genic|oid)$"
)
_FOLLOWING = re.compile(r"(?:'s|’s)?[ -]([\w-]{1,30})")
_KIN = re.compile(
    rf"\b(?:mother|father|wife|husband|spouse|son|daughter|brother|sister|partner|niece|nephew|carer),?"
    rf" (?P<name>{_TOKEN})"
)
_AGED = re.compile(
    rf"(?<![\w-])(?P<name>{_TOKEN})(?=,? (?:is )?an? \d{{1,3}}[- ]?(?:year|yr|y/?o|month)|, \d{{1,3}} ?(?:years"
    rf"|yo\b|y/o|[MF]\b))"
)


_TITLES = tuple(title for title in _TITLE[3:-1].split("|") if title not in ("Mrs", "Mrs", "Drs", "Dra", "Sra"))
_MAY_BE_INITIALS = re.compile(r"[A-Z]\.\s?[A-Z]\.|(?i:initials)|[a-z]/[a-z]{2,3}\b")
_AGE_TOLD = re.compile(r"\d ?-?(?:year|yr|y/?o|month|[MF]\b)")
_WITHOUT_CAPITAL = re.compile(r"\^|name|ed by|signed")
"""What a name without a capital stands behind, and the sign in it."""
_CAPITAL, _CAPITALS, _TITLE_IN, _INITIAL_IN, _LABEL_IN, _COLON, _CARET_IN, _PLACE_IN, _KIN_IN, _AGE_IN, _SMALL = (
    1 << bit for bit in range(11)
)
LOOKS = (
    re.compile(r"[A-Z]"),
    re.compile(r"[A-Z].*[A-Z]"),
    re.compile("|".join(title for title in _TITLES)),
    re.compile(r"[A-Z]\.|(?i:initials)|[a-z]/[a-z]"),
    re.compile("|".join(_LABEL_WORDS), re.I),
    re.compile(r"[:=]|named|called", re.I),
    re.compile(r"\^"),
    re.compile("|".join(re.escape(hint.split()[0]) for hint in HINTS), re.I),
    re.compile(r"mother|father|wife|husband|spouse|son|daughter|brother|sister|partner|niece|nephew|carer"),
    re.compile(r"year|yr|y/?o|month|[MF]\b"),
    re.compile(r"\^|name|ed$|signed"),
)
"""At one word each: what the rules of names cannot be without, in the order of the bits above."""


_LETTERS = str.maketrans({"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "ı": "i", "ß": "ss", "æ": "ae", "Æ": "Ae"})
"""Letters that lose nothing where accents are taken away."""


@functools.cache
def given_names() -> frozenset[str]:
    """Common given names, in lower case."""
    return frozenset(word_list("given_names.txt"))


@functools.cache
def _sure_given() -> frozenset[str]:
    return given_names() - AMBIGUOUS


@functools.cache
def _words() -> frozenset[str]:
    """Words of every day and of the field, that are nobody's name."""
    listed = (*word_list("common_words.txt"), *word_list("medical_terms.txt"))
    return (ORDINARY | NO_SURNAME | GENERIC | {part for term in listed for part in term.split()}) - {"young", "gray"}


def folded(word: str) -> str:
    """In lower case without accents, and without a possessive."""
    plain = unicodedata.normalize("NFKD", word.translate(_LETTERS)) if not word.isascii() else word
    return (
        "".join(part for part in plain if not unicodedata.combining(part)).lower().removesuffix("'s").removesuffix("’s")
    )


def is_given(word: str) -> bool:
    """Whether a word, or each part of it around a hyphen, is a common given name."""
    return all(part in given_names() for part in folded(word).split("-"))


def _is_surely_given(word: str) -> bool:
    return folded(word) in _sure_given()


def is_ordinary(word: str) -> bool:
    """Whether a word is one of every day or of the field."""
    low = folded(word).strip(".,;:-")
    if low in given_names():
        return False
    return low in _words() or (low.endswith("s") and low[:-1] in _words()) or bool(len(low) > 5 and _SUFFIX.search(low))


def names_in(text: str, held: int, twice: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of every name that is found; they may overlap.

    Bit n of ``held`` says that look n found something in a word of the text, and of ``twice`` that it did in two.
    """
    other = not text.isascii()
    if not (other or held & _CAPITAL or (held & _SMALL and _WITHOUT_CAPITAL.search(text))):
        return
    several = bool(held & _CAPITALS or twice & _CAPITAL)
    yield from _labelled(text, held, several)
    if held & _CARET_IN:
        yield from _carets(text)
    if held & _PLACE_IN:
        yield from hospitals_in(text, is_ordinary, _is_surely_given)
    one = [*_AGED.finditer(text)] if held & _AGE_IN and _AGE_TOLD.search(text) else []
    for found in (*one, *(_KIN.finditer(text) if held & _KIN_IN else ())):
        if is_given(found["name"]) and folded(found["name"]) not in AMBIGUOUS:
            yield found.span("name")
    if several or other:
        yield from _bare(text)


def _labelled(text: str, held: int, several: bool) -> Iterator[tuple[int, int]]:
    """Behind titles, labels and roles; each pattern only where a text holds what it cannot match without."""
    titled = held & _TITLE_IN
    sure = [_TITLED] if titled else []
    if "M. " in text:
        sure.append(_MONSIEUR)
    for found in _INITIALS.finditer(text) if titled or (held & _INITIAL_IN and _MAY_BE_INITIALS.search(text)) else ():
        yield found.span(found.lastgroup or 0)
    if held & _LABEL_IN:
        sure += _LABELLED
    if not text.isascii():
        sure += _CHINESE
    for pattern in sure:
        for found in pattern.finditer(text):
            yield from _cut(found, sure=True)
    likely = [*_ROLES_COLON] if held & _COLON else []
    if several and _PAIR.search(text):
        likely += _ROLES
    for pattern in likely:
        for found in pattern.finditer(text):
            yield from _cut(found, sure=False)


def _cut(found: re.Match[str], sure: bool) -> Iterator[tuple[int, int]]:
    """The name of a match up to its first word that is nobody's, if a name is left."""
    start, stop = found.span("name")
    name = found["name"]
    titled = found.re is _TITLED
    words = [(word.end(), word[0]) for word in re.finditer(r"[^\s,;:]+", name)]
    kept, led = 0, False
    for end, word in words:
        if len(word.rstrip(".")) == 1 and word[0].isupper() and end < words[-1][0]:
            led = True
            continue  # an initial; the name goes on behind it
        surname = folded(word) in SURNAMES_TOO and (titled or sure or led or kept > 0)
        if _NOBODY.search(word) or (is_ordinary(word) and not surname and not _particle(word)):
            break
        kept = end
    taken = name[:kept].split()
    while taken and _particle(taken[-1]):
        kept = kept - len(taken.pop()) - 1
    behind = _FOLLOWING.match(found.string, start + kept)
    if kept <= 0 or (behind and folded(behind[1]) in NO_SURNAME):
        return
    capital = [word for word in taken if not _particle(word)]
    if sure or len(capital) > 1 or (capital and is_given(capital[0])):
        trimmed = name[:kept].rstrip(" .,;:")
        if len(trimmed) > 1:
            yield start, min(stop, start + len(trimmed))


def _particle(word: str) -> bool:
    return re.fullmatch(_PARTICLE, word) is not None


def _carets(text: str) -> Iterator[tuple[int, int]]:
    for found in _CARET.finditer(text):
        family, given = found["family"], found["given"]
        capital = family[0].isupper() and given[0].isupper()
        if (
            (capital or is_given(given) or is_given(family))
            and not _NOBODY.search(found["name"])
            and len(family + given) > 2
        ):
            yield found.start(), found.start() + len(found["name"].rstrip(" .,;:^"))


def _bare(text: str) -> Iterator[tuple[int, int]]:
    """A common given name beside another capitalised word that is no word of the field or of every day."""
    for run in _RUN.finditer(text):
        if _TOWN_BEFORE.search(text, max(0, run.start() - 7), run.start()):
            continue
        tokens = list(_IN_RUN.finditer(run[0]))
        words = [folded(token[0]) for token in tokens]
        at = 0
        while at < len(tokens):
            last = _person(run[0], tokens, words, at)
            if last is None:
                at += 1
                continue
            begin, end = tokens[at].start(), tokens[last].end()
            behind = _FOLLOWING.match(text, run.start() + end)
            of_a_thing = behind and folded(behind[1]).rstrip("s") in NO_SURNAME
            if not (of_a_thing or _IS_A_PLACE.match(text, run.start() + end) or _is_a_list(run[0], begin, end)):
                yield run.start() + begin, run.start() + end
            at = last + 1


def _is_a_list(run: str, begin: int, end: int) -> bool:
    """Whether a name with a comma is two of several authors or inventors in a row."""
    return "," in run[begin:end] and run.count(",") > 1


def _person(run: str, tokens: list[re.Match[str]], words: list[str], at: int) -> int | None:
    """The last token of a name that begins at ``at``: a given name and a surname, or "Surname, Given"."""
    reach = at
    if at and words[at - 1] in _TOWNS:
        return None
    given = is_given(tokens[at][0]) and len(words[at]) > 1
    for one in range(at + 1, min(len(tokens), at + 5)):
        between = run[tokens[one - 1].end() : tokens[one].start()]
        reversed_name = one == at + 1 and not given and between == ", "
        surname = given and one == at + 1 and words[one] in SURNAMES_TOO and words[at] not in AMBIGUOUS
        if (
            (is_ordinary(tokens[one][0]) and not surname)
            or ("," in between and not reversed_name)
            or (". " in between and len(words[one - 1]) > 1)
        ):
            break
        reach = one
    surnames = [word for word in words[at + 1 : reach + 1] if len(word) > 1]
    if reach == at or not surnames or f"{words[at]} {words[at + 1]}" in EPONYMS or surnames[-1] in NO_SURNAME | PLAIN:
        return None
    if given:
        weak = words[at] in AMBIGUOUS and surnames[0] not in _sure_given()
        return None if weak and (tokens[at][0].isupper() or len(words[at]) < 4) else reach
    if is_ordinary(tokens[at][0]) or len(words[at]) < 2:
        return None
    if surnames[0] in _sure_given() and f"{surnames[0]} {surnames[-1]}" not in EPONYMS:
        comma = run[tokens[at].end() : tokens[at + 1].start()] == ", "
        return at + 1 if comma else reach
    return None
