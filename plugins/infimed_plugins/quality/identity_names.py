"""Names of people in text: behind a title, a label or a role, in the forms of DICOM and tables, and by given names."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator

from infimed_plugins.quality.texts import word_list

_UPPER = r"A-Z\u00c0-\u00de\u0100-\u017d"
_TOKEN = rf"[{_UPPER}](?:[\w'’]|-(?=\w)){{0,30}}"
_INITIAL = rf"[{_UPPER}]\.?"
_PARTICLE = r"(?:van|von|de|der|den|la|las|los|del|dos|da|di|bin|al|el|y|e|le|du|ter)"
_NAME = rf"(?:{_TOKEN}(?:,? (?:{_PARTICLE} ){{0,3}}(?:{_TOKEN}|{_INITIAL}(?= ))){{0,3}})"
_TWO = rf"(?:{_TOKEN}(?: {_INITIAL})?,? (?:{_PARTICLE} ){{0,3}}{_TOKEN}(?: (?:{_PARTICLE} ){{0,2}}{_TOKEN})?)"
_TITLE = (
    r"(?:Mr|Mrs|Ms|Miss|Mx|Dr|DR|MRS|Drs|Dra|Prof|Professor|Doctor|Sr|Sra|Srta|Señor|Señora|Doña|Herr|Frau|Mme|Mlle|Monsieur"
    r"|Madame)"
)
_STAFF = (
    r"radiologist|physician|clinician|doctor|consultant|surgeon|technologist|technician|sonographer|operator|nurse"
    r"|referring(?: physician| doctor)?|attending(?: physician)?|resident|fellow|cardiologist|oncologist|pathologist"
    r"|provider|requested by|referred by|dictated by|signed(?: electronically)? by|electronically signed by|reported by"
    r"|read by|performed by|reviewed by|reviewed with|discussed with|verified by|approved by|interpreted by|ordered by"
    r"|transcribed by|seen by|attn|emergency contact|contact|médico|arzt|médecin"
)
_FAMILY = (
    r"next of kin|guardian|mother|father|wife|husband|spouse|son|daughter|brother|sister|cc|patient|pt|subject|paciente"
)
_NAME_LABEL = (
    r"(?:patient(?:'s|s)?|pt\.?'?s?|full|last|first|sur|family|given|maiden|legal|subject(?:'s)?|mother(?:'s)?|father(?:'s)?"
    r"|doctor(?:'s)?|physician(?:'s)?|contact)[ _-]?(?:full |last |first )?names?|name of (?:the )?patient|patient \(name\)"
    r"|nombre(?: y apellidos)?(?: del paciente)?|apellidos?|nachname|vorname|prénom|cognome|nome|nom"
)
_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈"
    "姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤"
)
_CJK = r"\u4e00-\u9fff"
_TITLED = re.compile(rf"(?<![\w-]){_TITLE}(?:\.\s?|\s)(?P<name>(?:{_INITIAL} )?{_NAME})")
_LABEL_WORDS = ("name", "nom", "apellido")
_LABELLED: tuple[re.Pattern[str], ...] = (
    re.compile(rf"\b(?i:{_NAME_LABEL})\s?(?:[:=]|is\b|：)\s?(?P<name>{_NAME})"),
    re.compile(rf"\b(?i:patient(?:'s)?[ _]name)\s?[:=]\s?(?P<name>[^\W\d_]{{2,24}},? [^\W\d_]{{2,24}})"),
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
    re.compile(rf"\b(?i:{_STAFF})\s?[:=]\s?(?:Dr\.? )?(?P<name>{_NAME})"),
    re.compile(rf"\b(?i:{_FAMILY})\s?(?:[:=]|\b(?:is named|named|called)\b)\s?(?P<name>{_NAME})"),
)
_ROLES: tuple[re.Pattern[str], ...] = (
    re.compile(rf"\b(?i:is named|was named|named|is called) (?P<name>{_TWO})"),
    re.compile(rf"\b(?i:{_STAFF}|{_FAMILY}),? (?P<name>{_TWO})(?=[\s,.;:)]|$)"),
    re.compile(
        rf"(?<![\w'’-])(?P<name>{_TOKEN}(?: {_INITIAL})? {_TOKEN})(?:,? (?:M\.D|MD|Ph\.?D|MBBS|FRCR|FRCS|DDS|PA-C)\b"
        r"|, (?:D\.?O|R\.?N|NP|RT)\b)"
    ),
    re.compile(
        rf"\b(?i:patient|pt\.?|paciente) (?P<name>{_TOKEN} {_TOKEN}),? (?:has|is|was|had|presents|presented|underwent|complains"
        r"|reports|came|seen|with|aged|tiene|presenta|\d)\b"
    ),
)
"""Behind a role and before a degree stand other words as often: each must be no word of the field or of every day."""
_CARET = re.compile(
    r"(?<![\w^'’-])(?P<name>(?P<family>[^\W\d_][^\W\d_'’ -]{0,14}(?:['’ -][^\W\d_]{2,20}){0,2})\^(?P<given>[^\W\d_][^\W\d_'’-]{0,30})"
    r"(?![\d])(?:\^[\w. -]{0,40}){0,4})"
)
_RUN = re.compile(rf"(?<![\w'’-]){_TOKEN}(?:(?:,? |\. |-)(?:{_PARTICLE} ){{0,3}}{_TOKEN}){{1,7}}")
_PAIR = re.compile(rf"{_TOKEN}(?: {_INITIAL})?,? (?:{_PARTICLE} ){{0,3}}[{_UPPER}]")
_IN_RUN = re.compile(_TOKEN)
_HOSPITAL_KIND = r"(?:Hospital|Hosp\.?|Infirmary|Clinic|Medical Cent(?:er|re)|Health Cent(?:er|re)|Med Ctr|Hospice|Nursing Home|Klinik(?:um)?)"
_PLACE_WORD = rf"[{_UPPER}](?:[\w'’.]|-(?=\w)){{0,24}}"
_HOSPITALS: tuple[re.Pattern[str], ...] = (
    re.compile(
        rf"(?<![\w-])(?P<name>(?:St|Saint|Santa|San|Sankt|Mount|Mt)\b\.? {_PLACE_WORD}(?: {_PLACE_WORD}){{0,2}}? {_HOSPITAL_KIND})"
    ),
    re.compile(
        r"\b(?i:admitted|transferred|referred|treated|seen|discharged|presented|brought|came|sent|taken|admission|visited"
        r"|scanned|imaged|done|performed|operated|born|ingresad[oa])"
        rf"(?: \w{{1,12}})? (?:to|at|from|by|in|en el) (?:the |our )?(?P<name>(?:{_PLACE_WORD} (?:of |the |and |de )?){{1,4}}?{_HOSPITAL_KIND}(?: of {_PLACE_WORD})?)"
    ),
    re.compile(
        rf"\b(?i:hospital|institution|clinic|facility)(?: name)?\s?[:=]\s?(?P<name>{_PLACE_WORD}(?: {_PLACE_WORD}){{1,4}})"
    ),
    re.compile(
        rf"\b(?P<name>Hospital (?:Universitario|General|Clínico|San|Santa|Virgen|de|del)(?: (?:de |del |la )?{_PLACE_WORD}){{1,4}})"
    ),
)
_GENERIC = frozenset(
    "a the our general university children children's childrens regional district county community teaching tertiary memorial day"
    " local field city central veterans affairs state national public private academic outpatient inpatient surgical medical"
    " pain eye dental cancer heart hospital clinic center centre emergency department maternity mental health".split()
)
_NOWHERE = _GENERIC | frozenset("et and or of the is was has in with who by for to at on as from".split())
_HOSPITAL = re.compile(r"[Hh]osp|Clinic|clinic:|Infirmary|Cent(?:er|re)|Ctr|Klinik|Nursing|institution|facility")
_NOBODY = re.compile(
    r"^[Xx]{2,}[-.,]?$|anonym|unknown|redacted|withheld|removed|de-?identified|\b(?:not|none|n/?a|patient|subject|normal|blinded|available"
    r"|applicable|phantom|test|male|female|pending|unchanged|see|yes|no|as|per|same|above|below|the|this|an|adult|infant|child)\b",
    re.I,
)
_NO_SURNAME = frozenset(
    "syndrome disease sign test score scale classification fracture lesion tumor tumour cell cells body bodies law line lines artery"
    " vein nerve node nodule procedure operation maneuver manoeuvre reflex duct gland space pouch ligament canal triangle stain"
    " staining method criteria grade stage phenomenon palsy paralysis murmur anomaly malformation aneurysm hernia ulcer point plate"
    " tube catheter splint valve hospital university college center centre clinic institute county city street avenue road island"
    " islands river pupil phenomena rings ring lymphoma sarcoma carcinoma bengal virus factor index equation formula model protocol"
    " technique approach incision repair shunt graft filter pump needle forceps retractor prosthesis position view projection angle"
    " fascia muscle membrane layer deformity dystrophy ataxia chorea dementia anemia nodes lobe area membrane knot granuloma"
    " sequence association spots spot foundation prize award lecture trial study questionnaire inventory coefficient".split()
)
"""What stands behind the name of a discoverer or of a place."""
_EPONYMS = frozenset(
    "michael modic,marcus gunn,austin flint,charles bonnet,graham steell,ramsay hunt,pierre robin,louis bar,claude bernard,bernard soulier,"
    "paul bunnell,henry ford,robert jones,johns hopkins,rose bengal,crystal violet,mary jane,charcot marie,pierre marie,"
    "marie curie,joseph brant,guy hospital,henoch schonlein,dandy walker,jean piaget,kim jong,albert einstein,thomas jefferson,"
    "george washington,john hopkins,hans asperger,virginia apgar,florence nightingale,frank starling,martin gruber,lee white,"
    "prader willi,john cunningham,saint louis,anton babinski,von hippel,alice wonderland,wolfgang pauli,harris benedict,scott parazynski,"
    "carl zeiss,ziehl neelsen,francis turville,peter pan,robin hood,leopold auenbrugger,duchenne erb,simon broome,logan turner,"
    "kent bundle,holly berry,april may,ray ban,max planck,san jose,santa maria,san juan,los angeles,joan collins".split(
        ","
    )
)
_SURNAMES_TOO = frozenset(
    "white black green brown gray grey west east north south wall walls ward long short stone fields field english bright mays may day"
    " king young hill park parks rice bone foot head hand heart small little strong cross colon wells bank banks gross best good"
    " lane rivers river waters water street rose case cases price chase bishop love power powers french german french welch hall"
    " chambers moon winter summer summers spring fisher cook baker carter mason hunter page read reed wise savage sharp church"
    " house castle bush wood woods forest lake ford bridges bridge glass steel berry frost snow rain bird wolf fox lamb bull"
    " crane swan drake bass pike salmon fish shell line grant dean march noble pope abbott blood legs hands root burns bond"
    " key keys lock locks marks mark post may ray sun shine friend major minor payne pain self christian camp law laws york"
    " england scott ireland holland paris london boston lincoln clark college points temple graves crohn parish knight".split()
)
"""Words that are surnames too: behind a title or a given name they are taken for one."""
_PLAIN = frozenset("et and or of the is was has in with who by for to at on as from".split())
_ORDINARY = frozenset(
    "patient patients pt dear dr mr mrs ms dictated signed attending name with from by seen the a an no for this that her his our"
    " and or chest abdomen abdominal head neck brain spine left right upper lower normal acute chronic type breast lung heart"
    " liver cancer cardiac renal hepatic failure diabetes mellitus hypertension infarction myocardial stroke history health global"
    " safety care reported outcome outcomes questionnaire assessment controlled medical clinical center data unit group national"
    " american european society association college royal state north south east west new york san los united english french"
    " german chinese japanese korean visit summary findings impression indication comparison technique date time report exam study"
    " image images series slice figure table case cases ct mri mr xr us pet pa ap lateral portable view views erect supine dose"
    " max min mean total rate flow high low pain fever cough male female adult child infant man woman mother father brother sister"
    " hypertensive asthma allergy allergies none unknown smoker former ray line lines tube catheter system test level score risk"
    " x-ray ultrasound contrast film films radiograph compared correlation recommended negative positive results result therapy"
    " surgery surgical emergency department ward room hospital clinic general internal external anterior posterior medial deep"
    " monday tuesday wednesday thursday friday saturday sunday january february march april may june july august september october"
    " november december de la von der all both each more most other some such than then there these when where which while will"
    " only over same under very was were are is has have had been being after before during since but if not also interval"
    " please discussed reviewed examination electronic electronically phone telephone fax email address home lives age sex dob mrn"
    " received operating characteristic practice practitioner specialist specialty services service department office program"
    " physician physicians nurse nurses doctor doctors resident residents staff team survival index quality life scale form"
    " protocol guideline guidelines criteria trial trials research foundation institute university school faculty board".split()
)
_SUFFIX = re.compile(
    r"(?:itis|oma|omas|osis|emia|aemia|pathy|ectomy|otomy|ology|ologist|graphy|gram|scopy|plasty|tion|tions|sion|sis|ment|ness|ity"
    r"|ular|ous|ive|able|ible|ism|ment|ancy|ency|ance|ence|less|ful|ics|iasis|plegia|algia|rrhea|uria|trophy|emic|genic|oid)$"
)
_AMBIGUOUS = frozenset(
    "min max li jun ray mark hong lei ming jin don rose amber crystal dawn robin ama soo mei xin hui rick ron ben sam dan ken ted bob"
    " jim art will hunter mason jordan logan madison austin brooke paige morgan chelsea jasmine ebony virginia victoria regina"
    " charlotte holly ali noor luz rosa sierra jean christian frank grant dean lane may june april august carol marco leo kim lee"
    " san ian eva christian bishop joy wei yan ying hao min tara gina diego lars van".split()
)
_FOLLOWING = re.compile(r"(?:'s|’s)?[ -]([\w-]{1,30})")
_AGED = re.compile(
    rf"(?<![\w-])(?P<name>{_TOKEN})(?=,? (?:is )?an? \d{{1,3}}[- ]?(?:year|yr|y/?o|month)|, \d{{1,3}} ?(?:years|yo\b|y/o|[MF]\b))"
)


@functools.cache
def given_names() -> frozenset[str]:
    """Common given names, in lower case."""
    return frozenset(word_list("given_names.txt"))


@functools.cache
def _sure_given() -> frozenset[str]:
    return given_names() - _AMBIGUOUS


@functools.cache
def _words() -> frozenset[str]:
    """Words of every day and of the field, that are nobody's name."""
    listed = (*word_list("common_words.txt"), *word_list("medical_terms.txt"))
    return (_ORDINARY | _NO_SURNAME | _GENERIC | {part for term in listed for part in term.split()}) - {"young", "gray"}


def folded(word: str) -> str:
    """In lower case without accents, and without a possessive."""
    plain = unicodedata.normalize("NFKD", word) if not word.isascii() else word
    return (
        "".join(part for part in plain if not unicodedata.combining(part)).lower().removesuffix("'s").removesuffix("’s")
    )


def is_given(word: str) -> bool:
    """Whether a word, or each part of it around a hyphen, is a common given name."""
    return all(part in given_names() for part in folded(word).split("-"))


def is_ordinary(word: str) -> bool:
    """Whether a word is one of every day or of the field."""
    low = folded(word).strip(".,;:-")
    if low in given_names():
        return False
    return low in _words() or (low.endswith("s") and low[:-1] in _words()) or bool(len(low) > 5 and _SUFFIX.search(low))


def names_in(text: str) -> Iterator[tuple[int, int]]:
    """(start, stop) of every name that is found; they may overlap."""
    yield from _labelled(text)
    if "^" in text:
        yield from _carets(text)
    if _HOSPITAL.search(text):
        for pattern in _HOSPITALS:
            for found in pattern.finditer(text):
                if not all(folded(word) in _NOWHERE for word in found["name"].split()[:-1]):
                    yield found.span("name")
    for found in _AGED.finditer(text):
        if is_given(found["name"]) and folded(found["name"]) not in _AMBIGUOUS:
            yield found.span("name")
    yield from _bare(text)


def _labelled(text: str) -> Iterator[tuple[int, int]]:
    """Behind titles, labels and roles; each pattern only where a text holds what it cannot match without."""
    sure = [_TITLED]
    low = text.lower()
    if any(word in low for word in _LABEL_WORDS):
        sure += _LABELLED
    if not text.isascii():
        sure += _CHINESE
    for pattern in sure:
        for found in pattern.finditer(text):
            yield from _cut(found, sure=True)
    likely = [*_ROLES_COLON] if ":" in text or "=" in text or "named" in low or "called" in low else []
    if _PAIR.search(text):
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
    kept = 0
    for end, word in words:
        surname = folded(word) in _SURNAMES_TOO and (titled or sure or kept > 0)
        if _NOBODY.search(word) or (is_ordinary(word) and not surname and not _particle(word)):
            break
        kept = end
    taken = name[:kept].split()
    while taken and _particle(taken[-1]):
        kept = kept - len(taken.pop()) - 1
    behind = _FOLLOWING.match(found.string, start + kept)
    if kept <= 0 or (behind and folded(behind[1]) in _NO_SURNAME):
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
            if not (behind and folded(behind[1]).rstrip("s") in _NO_SURNAME):
                yield run.start() + begin, run.start() + end
            at = last + 1


def _person(run: str, tokens: list[re.Match[str]], words: list[str], at: int) -> int | None:
    """The last token of a name that begins at ``at``: a given name and a surname, or "Surname, Given"."""
    reach = at
    given = is_given(tokens[at][0]) and len(words[at]) > 1
    for one in range(at + 1, min(len(tokens), at + 5)):
        between = run[tokens[one - 1].end() : tokens[one].start()]
        reversed_name = one == at + 1 and not given and between == ", "
        surname = given and one == at + 1 and words[one] in _SURNAMES_TOO and words[at] not in _AMBIGUOUS
        if (
            (is_ordinary(tokens[one][0]) and not surname)
            or ("," in between and not reversed_name)
            or (". " in between and len(words[one - 1]) > 1)
        ):
            break
        reach = one
    surnames = [word for word in words[at + 1 : reach + 1] if len(word) > 1]
    if (
        reach == at
        or not surnames
        or f"{words[at]} {words[at + 1]}" in _EPONYMS
        or surnames[-1] in _NO_SURNAME | _PLAIN
    ):
        return None
    if given:
        weak = words[at] in _AMBIGUOUS and not (surnames[0] in _sure_given())
        return None if weak and (tokens[at][0].isupper() or len(words[at]) < 4) else reach
    if is_ordinary(tokens[at][0]) or len(words[at]) < 2:
        return None
    if surnames[0] in _sure_given() and f"{surnames[0]} {surnames[-1]}" not in _EPONYMS:
        comma = run[tokens[at].end() : tokens[at + 1].start()] == ", "
        return at + 1 if comma else reach
    return None
