"""Where people are treated and where their files lie: names of hospitals, links, and file names in text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from infimed_plugins.quality.identity_dates import speaks_of_many
from infimed_plugins.quality.identity_words import AMBIGUOUS, GENERIC, NO_SURNAME, PLAIN

Judge = Callable[[str], bool]
Span = tuple[int, int]

_WORD = r"[A-Z\u00c0-\u00de\u0100-\u017d](?:[\w'’.]|-(?=\w)){0,24}"
_KIND = (
    r"(?:Hospital|Hosp\b\.?|Infirmary|Clinic|Medical Cent(?:er|re)|Health Cent(?:er|re)|Cancer Cent(?:er|re)"
    r"|Med Ctr|Hospice|Nursing Home|Care Home|Rehab(?:ilitation)? Cent(?:er|re)|Sanatorium|Klinik(?:um)?)"
)
_SURE_KIND = (
    r"(?:(?:General|Memorial|Children['’]?s|University|Regional|Community|County|District|Research|Teaching|Veterans"
    r"|Baptist|Methodist|Presbyterian|Lutheran|Catholic|Jewish|Adventist|Royal|Central|City|Women['’]?s|Cancer|NHS)"
    r" (?:Research |Medical )?Hospital|(?<=['’]s )Hospital|Infirmary|Medical Cent(?:er|re)|Hospice|Nursing Home"
    r"|Care Home|Sanatorium|Cancer Cent(?:er|re)|Health Cent(?:er|re)|Medical Practice|Healthcare Trust"
    r"|(?:Hospitals? |NHS )(?:NHS )?(?:Foundation )?Trust|Med\.? (?:Ctr|Center))"
)
_SURE_KIND = rf"(?:{_SURE_KIND}|{_SURE_KIND.upper()})"
_NAMED: tuple[re.Pattern[str], ...] = (
    re.compile(
        rf"(?<![\w-])(?P<name>(?:Royal|Queen|King|Princess|Prince|Our Lady|Good|Holy|Sacred)\b(?:['’]s)?"
        rf" {_WORD}(?: {_WORD}){{0,3}}? {_KIND})"
    ),
    re.compile(rf"(?<![\w-])(?P<name>(?:St|Saint|Santa|San|Sankt|Mount|Mt)\b\.? {_WORD}(?: {_WORD}){{0,3}}? {_KIND})"),
    re.compile(
        r"\b(?i:admitted|transferred|referred|treated|seen|discharged|presented|brought|came|sent|taken|admission"
        r"|visited|scanned|imaged|done|performed|operated|born|followed|works?|lives|ingresad[oa])"
        rf"(?: \w{{1,12}})? (?:to|at|from|by|in|en el) (?:the |our )?(?P<name>(?:{_WORD} (?:of |the "
        rf"|and |de )?){{1,4}}?"
        rf"{_KIND}(?: of {_WORD})?)"
    ),
    re.compile(
        rf"\b(?i:seen|registered|reviewed|referred|works|bloods|appointment)(?: \w{{1,12}})? (?:at|with|from) (?:the )?"
        rf"(?P<name>{_WORD}(?: {_WORD}){{0,3}}? (?:Surgery|Practice))(?! [A-Z])"
    ),
    re.compile(rf"\b(?i:hospital|institution|clinic|facility)(?: name)?\s?[:=]\s?(?P<name>{_WORD}(?: {_WORD}){{1,4}})"),
    re.compile(
        rf"\b(?P<name>(?:Hospital (?:Universitari[oa]?|General|Cl[ií]nico?|San|Sant|Santa|Santo|Virgen"
        r"|Nuestra|Vall|Provincial"
        r"|Comarcal|Regional|Infantil|Militar|Central|Materno\w*|Civil|das?|dos?|de|del)"
        r"|[Cc]entro de [Ss]alud|[Cc]línica|[Ss]anatorio|Ospedale|Policlinico|Azienda Ospedaliera|H[ôo]pital|Clinique"
        r"|Centre [Hh]ospitalier(?: [Uu]niversitaire)?|CHR?U|AKH|UZ|UMC|Universit[äa]tsklinik(?:um)?"
        r"|Universitätsspital|Uniklinik"
        r"|Klinikum|Krankenhaus)"
        rf"(?: (?:de (?:la |los |las )?|del |du |des |di |der |rechts der |la |[Dd]r\. |d['’])?{_WORD}){{1,4}})"
    ),
    re.compile(rf"(?<![\w-])(?P<name>{_WORD}-(?:Krankenhaus|Klinik|Klinikum|Hospital|Spital)\b(?: {_WORD})?)"),
)
_ALONE = re.compile(rf"(?<![\w-])(?P<name>(?:{_WORD} (?:of |and )?){{1,4}}?{_SURE_KIND}(?: of {_WORD})?)(?![\w-])")
_KNOWN = re.compile(
    r"(?<![\w-])(?P<name>(?:(?:Mayo|Cleveland|Lahey|Ochsner|Marshfield|Menninger|Scripps|Geisinger|Guthrie)"
    r" Clinic(?: Foundation)?"
    r"|Massachusetts General|Brigham and Women['’]s|Karolinska(?: (?:University )?Hospital| Institut\w{1,3})?|Charité"
    r"|Johns Hopkins (?:Hospital|Medicine|Bayview)"
    r"|Memorial Sloan[- ]Kettering|Kaiser Permanente|M\.?D\.? Anderson|Dana[- ]Farber|Cedars[- ]Sinai|Rigshospitalet"
    r"|Royal (?:Brompton|Marsden)|Great Ormond Street|Moorfields|Addenbrooke['’]s"
    rf"|(?:Universitätsmedizin|Medizinische Hochschule) {_WORD})(?: Hospital)?)(?![\w-])"
    r"(?! (?:scores?|nomograms?|staging|classification|criteria|grad(?:e|ing)|prosthes[ie]s|index|scale)\b)"
)
"""Known by a name that no word for a hospital need follow."""
_HAN = r"\u4e00-\u9fff\u30a0-\u30ff"
_CHINESE = re.compile(rf"(?P<name>[{_HAN}]{{2,14}}?(?:医院|醫院|病院|卫生院|疗养院|诊所|クリニック|妇幼保健院))")
_LED_BY = re.compile(r".*(?:于|至|到|在|从|由|往|入|去|赴|経|より|から|にて|の|是|为|的|经)")
_ANY_HOSPITAL = re.compile(
    r"^(?:[我本外他当該该某各多一二三上下级級院内外原同转入出住在地方综総合合基层専门专科学教附属大型公民私立院]|当地|综合)*"
    r"(?:医院|醫院|病院|卫生院|诊所|クリニック)$"
)
HINTS = (
    "hosp", "clin", "infirmary", "cent", "ctr", "nursing", "care home", "institution", "facility", "ospedale",
    "policlinico", "azienda", "hôpit", "chu ", "chru ", "chr ", "kranken", "klinik", "spital", "sanator", "trust",
    "mass", "brigham", "sloan", "kaiser", "anderson", "dana", "cedars", "brompton", "marsden", "ormond",
    "moorfields", "addenbrooke", "surgery", "practice", "akh ", "uz ", "umc ",
    "karolinska", "charité", "johns", "medizin",
    "医院", "醫院", "病院", "卫生院", "疗养院", "诊所", "クリニ", "保健院",
)  # fmt: skip
"""In lower case; a text without one of these names no place."""
_NOWHERE = GENERIC | PLAIN
_LINK = re.compile(r"(?<![\w@])(?:(?:https?|ftp|sftp|smb|file)://|www\.)[^\s<>\"'“”()\[\]{},;]{3,300}", re.I)
_OWN_HOST = re.compile(
    r"(?:^|[.-])(?:pacs|ris|emr|ehr|intranet|mychart|patients?|nhs|ukl?)[.\d-]|hosp|clinic(?!altrials)|klinik|kranken"
    r"|medcent|infirm|(?:^|\.)dr-?[a-z]{3}|praxis|doctor|\.nhs\.|\.local$|(?:\d{1,3}\.){3}\d"
    r"|facebook|linkedin|instagram",
    re.I,
)
_PUBLIC = re.compile(r"(?:mayoclinic|clevelandclinic|hopkinsmedicine|radiopaedia)\.\w+$|(?:^|\.)nhs\.uk$", re.I)
_PERSONAL = re.compile(
    r"[?&/](?:patient|pt|mrn|name|subject|person|user|dob|acc(?:ession)?|study|case|pid"
    r"|uid)(?:[_-]?(?:id|name|no|uid))?="
    r"|/(?:patients?|people|profiles?|staff|users?|doctors?|team|in)/[a-z]|/~\w",
    re.I,
)
_OF_A_FILE = r"\.(?:png|jpe?g|dcm|dicom|tiff?|nii|ima|bmp|gif|webp|pdf|docx?|txt|csv|xlsx?|zip|mp4|avi)\b"
_PATH = re.compile(rf"(?<![\w@])(?:[A-Za-z]:)?[\w\\/.+~-]{{3,200}}{_OF_A_FILE}", re.I)
ENDING = re.compile(_OF_A_FILE, re.I)
_ACCOUNT = re.compile(r"[\\/](?:Users|home|Documents and Settings)[\\/]([\w.-]{2,40})", re.I)
_PART = re.compile(r"[^\W\d_]{2,30}")


_CALLED = re.compile(rf"(?<![\w-])(?P<name>(?:{_WORD} ){{1,3}}?(?:Hospital|Clinic|Surgery))(?! [A-Z])")


def hospitals_in(text: str, is_ordinary: Judge, is_given: Judge) -> Iterator[Span]:
    """(start, stop) of names of hospitals, clinics and homes; what tells of one of many stays."""
    low = text.lower()
    if not any(hint in low for hint in HINTS):
        return
    for found in _KNOWN.finditer(text):
        if _of_one(found):
            yield found.span("name")
    for pattern in _NAMED:
        for found in pattern.finditer(text):
            *words, kind = found["name"].split()
            named = [word for word in words if _plain(word) not in _NOWHERE]
            if kind in (
                "Clinic",
                "Surgery",
                "Practice",
            ):  # called after what is treated there, as often as after a place
                named = [word for word in named if not is_ordinary(word)]
            if named and _of_one(found):
                yield found.span("name")
    for found in _ALONE.finditer(text):
        words = found["name"].split()
        first = next((at for at, word in enumerate(words) if not (_plain(word) in _NOWHERE or is_ordinary(word))), None)
        if first is not None and _of_one(found):
            yield found.span("name")
    for found in _CALLED.finditer(text):  # after a person
        if any(is_given(word) for word in found["name"].split()[:-1]) and _of_one(found):
            yield found.span("name")
    for found in _CHINESE.finditer(text):
        name = found["name"]
        led = _LED_BY.match(name)
        start = found.start() + (led.end() if led else 0)
        if not _ANY_HOSPITAL.match(text[start : found.end()]):
            yield start, found.end()


def _plain(word: str) -> str:
    return word.lower().replace("’", "'").strip(".,")


def _of_one(found: re.Match[str]) -> bool:
    behind = re.match(r"[ -](\w{1,20})", found.string[found.end("name") :])
    of_a_thing = behind is not None and behind[1].lower().rstrip("s") in NO_SURNAME
    return not of_a_thing and not speaks_of_many(found.string, *found.span("name"))


def links_in(text: str, is_given: Judge, is_ordinary: Judge) -> Iterator[Span]:
    """(start, stop) of links that lead to a person or to the systems of a place of care."""
    if "://" not in text and "www." not in text.lower():
        return
    for found in _LINK.finditer(text):
        link = found[0].rstrip(".:!?")
        host, _, path = re.sub(r"^\w+://", "", link).partition("/")
        own = _OWN_HOST.search(host) and not _PUBLIC.search(host)
        if own or "@" in host or _PERSONAL.search(f"/{path}") or has_name(path, is_given, is_ordinary):
            yield found.start(), found.start() + len(link)


def files_in(text: str, is_given: Judge, is_ordinary: Judge) -> Iterator[Span]:
    """(start, stop) of file names and paths that hold the name of a person or of a user's account."""
    if not ENDING.search(text):
        return
    for found in _PATH.finditer(text):
        if _ACCOUNT.search(found[0]) or has_name(found[0].rpartition(".")[0], is_given, is_ordinary):
            yield found.span()


def has_name(name: str, is_given: Judge, is_ordinary: Judge) -> bool:
    """Whether a given name stands beside another word that is none of every day, in the parts of a name in any case."""
    words = _PART.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"[_+]", " ", name)))
    sure = [is_given(word) and len(word) > 2 and word.lower() not in AMBIGUOUS for word in words]
    other = [len(word) > 2 and (given or not is_ordinary(word)) for word, given in zip(words, sure, strict=True)]
    return any((sure[at] and other[at + 1]) or (other[at] and sure[at + 1]) for at in range(len(words) - 1))
