"""Dimension ``medical_validity``: the text is medical, and its answers can be right."""

from __future__ import annotations

import itertools
import re
from functools import cache, lru_cache

from infimed_core import Sample
from infimed_plugins.quality.completeness import garbled_share
from infimed_plugins.quality.languages import language_of
from infimed_plugins.quality.modalities import lexicon, modality_of
from infimed_plugins.quality.reasons import Reason
from infimed_plugins.quality.remembered import Remembered
from infimed_plugins.quality.texts import Texts, listed, word_list, words_of

_NEGATION = r"(?:no|not|without|absence of|absent|negative for|free of|denies|no evidence of|no sign of|no signs of)"
_AFFIRMATION = (
    r"(?:large|small|moderate|mild|severe|extensive|massive|new|acute|there is an?|shows an?|with an?|visible)"
)
_SUFFIX = re.compile(
    r"(?:itis|osis|oses|aemia|emia|opathy|opathic|ectomy|ostomy|otomy|oscopy|algia|uria|plegia|penia|megaly|rrhage|rrhoea|rrhea"
    r"|plasty|oma|omas|omata|omatous|enterocolitis|erythematosus|lysis|lytic|genic|natal|cardial|vascular|cerebral|ectasis"
    r"|trophy|trophic|plasia|plastic|cyte|cytes|cytic|blast|blasts|phage|phages|philic|phils|derma|dermal|gram|graphy|icular"
    r"|thelial|thelium|stroma|stromal|nuclear|plasm|plasmic|ologist|ology|iatric|iatry|emic|uric|tonic|static|sclerotic|fibrotic"
    r"|cidal|mycin|cillin|azole|pril|sartan|statin|olol|mab|inib|vir|therapy|pathic|phasia|opia|phobia|mania|dactyly|cephaly)$"
    r"|^(?:neuro|cardi[oa]|hepat|nephr|gastr|derm|epiderm|h[a]?emat|h[a]?emo|oste[oi]|arthr|myo|pneum|pulmon|bronch|vascul|angi"
    r"|thromb|lymph|leuk|cyto|histo|patho|necro|carcin|sarco|fibro|aden|muco|squam|kerat|melan|ocul|retin|corne|cerebr|cereb"
    r"|encephal|mening|spin|vertebr|thora|abdom|pelv|ureth|ureter|cysti|chol|pancrea|splen|enter|colon|rect|ovari|uter|endometr"
    r"|prostat|mamm|thyr|adren|pituit|hypo|hyper|tachy|brady|dys|anti|immun|infect|bacter|vir[ua]|fung|parasit|tumou?r|metast"
    r"|malign|benign|lesion|surg|clinic|medic|patient|diagnos|symptom|therap|disease|syndrom|health|hospital|nurs|physician"
    r"|epithel|endothel|trabecul|papill|follic|germinal|psammom|ganglio|gli[oa]|axon|chrom|genotyp|phenotyp|allel|mutat)\w*"
)
"""Endings and stems that medical words have, for the many words that no list holds."""
_NOT_BUILT = listed(
    "technology technologies technological ideology ideologies apology apologies astrology mythology terminology "
    "chronology archaeology sociology geology theology geography photography photographs demography bibliography "
    "program programs diagram diagrams telegram instagram enter enters entered entertaining entertainment "
    "enterprise enterprises spin spins rectangle rectangular surge surged surges colony colonies colonial antique "
    "antiques anticipate anticipated mammal clinch utopia"
)
"""Words of every day that are built as medical ones are."""
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_ICD = re.compile(r"\b[A-Z]\d{2}(?:\.\d{1,2})?\b")
_TOKEN = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LETTER = re.compile(r"^\W*([A-Za-z])\W*$")
_CHANGE = re.compile(
    r"\b(?:by|rose|fell|dropped|increas\w+|decreas\w+|chang\w+|differ\w+|declin\w+|improv\w+|reduc\w+|lower|higher"
    r"|of \d+ patients)\b",
    re.I,
)
"""Words between a measure and a number that make the number a change of it."""
_NUMBERS = (
    (
        ("fraction", "satur", "stenos", "spo2"),
        re.compile(r"(?:ejection fraction|saturation|stenosis|spo2)\D{0,20}?(\d+(?:\.\d+)?) ?%", re.I),
        0.0,
        100.0,
    ),
    (("year",), re.compile(r"\b(\d+(?:\.\d+)?)[- ]years?[- ]old", re.I), 0.0, 122.0),
    (("heart rate",), re.compile(r"heart rate\D{0,12}?(\d+(?:\.\d+)?)", re.I), 10.0, 350.0),
    (("temperature",), re.compile(r"temperature\D{0,12}?(\d+(?:\.\d+)?) ?°? ?C\b", re.I), 20.0, 46.0),
    (("ph",), re.compile(r"\bpH\b\D{0,8}?(\d+(?:\.\d+)?)"), 0.0, 14.0),
)


LEAST_EVERYDAY = 2
"""Distinct words of everyday life in a text without a medical one that make it a text about something else."""
LEAST_WORDS = 12
"""Words of a question with its answer under which a lack of medical words says nothing."""


def medical_validity(sample: Sample, texts: Texts) -> tuple[float | None, list[Reason], dict[str, float]]:
    """Validity in [0, 1], or ``None`` where there is no text."""
    everything = "\n".join((texts.everything, *sample.options)) if sample.options else texts.everything
    words = words_of(everything)
    distinct = len(set(words))
    garbled = garbled_share(words_of(texts.answer)) > 0.3
    num_told = len(words_of(texts.answer)) if texts.is_caption else len(words)
    if language_of(texts) is not None:
        return None, [Reason.LANGUAGE_UNKNOWN], {}
    if not words:
        return None, [], {}
    terms = medical_terms(everything)
    value = 1.0
    reasons: list[Reason] = []

    def lower(reason: Reason | None, most: float) -> None:
        nonlocal value
        value = min(value, most)
        if reason is not None:
            reasons.append(reason)

    has_modality = bool(modality_of(sample))
    if not terms and num_told >= 6 and not garbled:
        # A plain question about a medical picture is no fault, and a short one says too little; no list holds every
        # medical word, so that only a text with words of everyday life is plainly about something else.
        everyday = len(set(words) & _everyday())
        if everyday < LEAST_EVERYDAY or (not texts.is_caption and (sample.media or num_told < LEAST_WORDS)):
            lower(None, 0.6)
        else:
            lower(Reason.NOT_MEDICAL, 0.3 if has_modality else 0.15)
    elif (
        len(terms) / distinct < 0.02
        and distinct >= 40
        and not garbled
        and len(set(words) & _everyday()) >= LEAST_EVERYDAY
    ):
        lower(Reason.NOT_MEDICAL, 0.4)
    for reason in _judge_options(sample, texts):
        lower(reason, 0.1)
    if contradicts_itself(texts):
        lower(Reason.POLARITY_CONTRADICTION, 0.2)
    low = everything.lower()
    for pieces, pattern, least, most in _NUMBERS:
        if any(piece in low for piece in pieces) and any(
            not least <= float(found[1]) <= most
            for found in pattern.finditer(everything)
            if not _CHANGE.search(found[0])
        ):
            lower(Reason.NUMBER_IMPLAUSIBLE, 0.3)
            break
    return value, reasons, {"num_terms": float(len(terms)), "term_density": round(len(terms) / distinct, 4)}


@cache
def _everyday() -> frozenset[str]:
    return frozenset(word_list("everyday_words.txt"))


@cache
def _terms() -> tuple[frozenset[str], frozenset[tuple[str, ...]]]:
    entries = word_list("medical_terms.txt")
    single = frozenset(entry for entry in entries if " " not in entry)
    return single, frozenset(tuple(entry.split()) for entry in entries if " " in entry)


@lru_cache(maxsize=1 << 16)
def _is_built_medical(word: str) -> bool:
    return _SUFFIX.search(word) is not None and word not in _NOT_BUILT


def _terms_in(token: str) -> tuple[str, ...]:
    """The terms that one word holds: itself, its singular, the parts around a hyphen."""
    single, _ = _terms()
    found = {token} if token in single or _is_built_medical(token) else set()
    if token.endswith("s") and token[:-1] in single:
        found.add(token[:-1])
    if "-" in token:
        found.update(part for part in token.split("-") if part in single)
    return tuple(found)


def _tokens_and_terms(piece: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    tokens = tuple(_TOKEN.findall(piece.lower()))
    return tokens, tuple(term for token in tokens for term in _terms_in(token))


_between_spaces = Remembered(_tokens_and_terms)


def medical_terms(text: str) -> frozenset[str]:
    """The distinct terms of the shipped list in a text."""
    _, several = _terms()
    # a broken encoding inside a word is no matter of this dimension: without its leavings the word is seen again
    plain = text if text.isascii() else _NOT_ASCII.sub("", text)
    found: set[str] = set()
    tokens: list[str] = []
    for own, terms in map(_between_spaces.__getitem__, plain.split()):
        tokens += own
        found.update(terms)
    found.update(" ".join(pair) for pair in several.intersection(itertools.pairwise(tokens)))
    if _ICD.search(text) and re.search(r"\b(?:code|category|icd)\b", text, re.I):
        found.add("icd code")
    return frozenset(found)


def _plain(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().lower()


def _judge_options(sample: Sample, texts: Texts) -> list[Reason]:
    """Whether a multiple-choice answer can be chosen: options distinct, answer among them, letter and text agreeing."""
    if not sample.options:
        return []
    plain = [_plain(option) for option in sample.options]
    reasons = []
    if len(set(plain)) < len(plain) or "" in plain:
        reasons.append(Reason.OPTIONS_REPEATED)
    chosen = [place for text in texts.answers[:1] for place in _places(text, plain)]
    references = [place for text in sample.references for place in _places(text, plain)]
    if texts.answers and texts.answers[0].strip() and not chosen:
        reasons.append(Reason.ANSWER_NOT_IN_OPTIONS)
    elif (references and chosen and set(chosen) != set(references)) or len(set(references)) > 1:
        reasons.append(Reason.ANSWER_KEY_INCONSISTENT)
    return reasons


def _places(text: str, options: list[str]) -> list[int]:
    """Which option a text names: by its words, else by its letter, else by being the only one inside it."""
    plain = _plain(text)
    if plain in options:
        return [options.index(plain)]
    if letter := _LETTER.match(text):
        place = ord(letter[1].lower()) - ord("a")
        return [place] if place < len(options) else []
    if opening := re.match(r"^\W*([A-Za-z])[.):]\s*(.+)$", text, re.DOTALL):
        place = ord(opening[1].lower()) - ord("a")
        return [place] if place < len(options) and _plain(opening[2]) == options[place] else []
    within = [place for place, option in enumerate(options) if option and re.search(rf"\b{re.escape(option)}\b", plain)]
    longest = max((len(options[place]) for place in within), default=0)
    return [place for place in within if len(options[place]) == longest][:1]


@cache
def _finding_patterns() -> tuple[tuple[str, re.Pattern[str], re.Pattern[str]], ...]:
    patterns = []
    for finding in lexicon()["findings"]:
        word = rf"{re.escape(finding)}s?\b"
        denied = re.compile(rf"\b{_NEGATION}(?: (?!but)\w+){{0,2}} {word}", re.I)
        affirmed = re.compile(rf"(?<!no )(?<!without )\b{_AFFIRMATION}(?: (?!no\b|but\b)\w+){{0,2}} {word}", re.I)
        patterns.append((finding, denied, affirmed))
    return tuple(patterns)


@cache
def _may_deny() -> re.Pattern[str]:
    """Where a finding is denied, whichever it is."""
    findings = "|".join(map(re.escape, lexicon()["findings"]))
    return re.compile(rf"\b{_NEGATION}(?: (?!but)\w+){{0,2}} (?:{findings})s?\b", re.I)


_MAY_AFFIRM = re.compile(rf"\b{_AFFIRMATION}\b")
_SITE = re.compile(
    r"\b(?:left|right|bilateral|upper|lower|middle|mid|basal|apical|anterior|posterior|other|another|further|additional"
    r"|significant|definite|large|new|acute)\b"
)
"""Words that deny a finding in one place or of one kind alone."""
_TIME = re.compile(r"\b(?:prior|previous\w*|resol\w+|no longer|then|later|initial\w*|now|except|residual)\b")
"""Words that affirm it at another time."""


def _clause(text: str, match: re.Match[str]) -> str:
    """The clause around a match, up to the marks before and behind it."""
    start = max(text.rfind(mark, 0, match.start()) for mark in ".;:\n")
    stop = min((place for mark in ".;:\n" if (place := text.find(mark, match.end())) >= 0), default=len(text))
    return text[start + 1 : stop]


def contradicts_itself(texts: Texts) -> bool:
    """Whether the answers both deny and affirm one finding, or a yes/no disagrees with the words behind it."""
    answer = texts.answer.lower()
    if not (_MAY_AFFIRM.search(answer) or answer.lstrip().startswith("yes")):
        return False
    if not (_may_deny().search(answer) or re.match(r"\s*no[,.]", answer)):
        return False
    for finding, denied, affirmed in _finding_patterns():
        if finding not in answer:
            continue
        if denial := denied.search(answer):
            rest = denied.sub(" ", answer)
            claim = affirmed.search(rest)
            if claim and not _SITE.search(_clause(answer, denial)) and not _TIME.search(_clause(rest, claim)):
                return True
            if re.match(r"\s*yes\b", answer) and any(finding in text.lower() for text in texts.questions):
                return True
        elif (
            affirmed.search(answer)
            and re.match(r"\s*no[,.]", answer)
            and any(finding in text.lower() for text in texts.questions)
        ):
            return True
    return False
