"""Dimension ``alignment``: whether the text contradicts what is known of its picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from infimed_core import Sample
from infimed_plugins.quality.modalities import lexicon, modality_of
from infimed_plugins.quality.pictures import Picture
from infimed_plugins.quality.profile import Profile
from infimed_plugins.quality.reasons import Reason
from infimed_plugins.quality.texts import Texts

_ELSEWHERE = re.compile(
    r"\b(?:no|not|without|prior|previous|earlier|recommend\w*|suggest\w* (?:an?|further)|consider|follow-?up|"
    r"compared (?:with|to)|correlat\w+ with|correlation with|rather than|unlike|instead of)\b[^.;,]{0,40}$",
    re.I,
)
_COMPLAINT = re.compile(
    r"[ -](?:pain|tenderness|disten[st]ion|discomfort|cramp\w*|symptoms?|surgery|failure|insufficiency"
    r"|transplant\w*|function"
    r"|disease|injury|trauma|complaints?|swelling|bleeding|infection|cancer|hypertension|cirrhosis|stones?|examination|exam"
    r"|biopsy|tests?|was (?:soft|non)|is (?:soft|non)|soft)\b",
    re.I,
)
"""What makes a region's name the name of a complaint, an operation or a disease."""
_OTHER_STUDY = re.compile(
    r"(?: scans?| images?| imaging| angiogra\w+| of [\w ]{1,30}?)?,? (?:was|were|is|had been|will be)? ?"
    r"(?:performed|obtained|done|carried out|ordered|repeated|recommended|suggested|advised|pending|confirmed"
    r"|scheduled|taken"
    r"|the next|next day|later|subsequently|on day|prior|before|earlier|yesterday|last|two|three|\d+ (?:days?"
    r"|weeks?|hours?))\b",
    re.I,
)
"""What makes a machine's name the name of another examination."""
_OPENING = re.compile(
    r"\W*(?:(?:an?|the|this|these|axial|coronal|sagittal|transverse|oblique|frontal|lateral|portable|mobile|supine|erect"
    r"|upright|pa|ap|post\w*|pre\w*|non\w*|un\w*|contrast\S*|enhanced|plain|digital|high-?resolution|colou?r|initial|bedside"
    r"|t[12]\S*|weighted|gadolinium\S*|bilateral|left|right|normal|abnormal|single|multi\S*|images?|pictures?|views?|slices?|of"
    r"|films?|scans?|reformat\w*|reconstruct\w*|section|chest|abdom\w+|brain|head|cranial|pelvi\w+|knee|spin\w+|lumbar"
    r"|cervical|thoracic|shoulder|hand|wrist|hip|ankle|foot|cardiac|breast|renal|liver|hepatic|ct|mri?|x-?ray|radiograph"
    r"|ultrasound|computed|tomography|magnetic|resonance|imaging|it|is|shows?|in|on|a|and|with)[ ,:-]+){0,8}",
    re.I,
)
"""What may stand before the thing that a caption begins with."""
_THIS_IS = re.compile(
    r"\b(?:this|it|the (?:image|picture|figure|film|scan|study|modality|technique|photograph)|(?:image"
    r"|picture) (?:type|modality))"
    r" (?:is|was|shows|represents|depicts|displays)(?: an?| the)? (?:[\w-]+ ){0,2}$|\b(?:imaged|acquired|taken|seen) "
    r"(?:by|with|using|on) (?:this )?$",
    re.I,
)
_ASKS_WHICH = re.compile(
    r"\b(?:modality|which|what (?:type|kind|sort|imaging|organ|part|region|plane|body)|or|how was|"
    r"taken with|type of)\b|^\W*(?:is|was|are|were) (?:this|it|that|these|the) (?:[\w-]+ ){0,7}[\w-]+ ?\?",
    re.I,
)
_ASKS_IF = re.compile(
    r"\W*(?:is|was) (?:this|it|the (?:image|picture|scan|film|study))(?: image| picture| scan)? an? ", re.I
)
_YES = re.compile(r"\W*yes\b", re.I)
_NOTE_WORDS = 30
"""Longer answers tell of a patient, whose other regions may be named without being shown."""
_PANEL = re.compile(r"(?:\(([b-h])\)|\bpanels? \(?([b-h])\b)", re.I)
_SIDE = re.compile(r"\b(left|right)[- ](?:sided )?(?=\w+)", re.I)
_SIDES = {"l": "left", "r": "right", "left": "left", "right": "right"}


@cache
def _claims(kind: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    table = lexicon()[kind]
    patterns = []
    for key, words in table.items():
        alternatives = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
        patterns.append((key, re.compile(rf"(?<![\w&-])(?:{alternatives})(?![\w&-])", re.I)))
    return tuple(patterns)


def claimed(kind: str, texts: Texts) -> frozenset[str]:
    """Keys of the lexicon's table ``kind`` that the answers speak of, without comparisons, denials and complaints."""
    found = set()
    agreed = [question for question, answer in texts.pairs if _YES.match(answer) and _ASKS_IF.match(question)]
    for key, pattern in _claims(kind):
        for answer in (*texts.answers, *agreed):
            if any(not _is_elsewhere(match) for match in pattern.finditer(answer)):
                found.add(key)
    return frozenset(found)


def _is_elsewhere(match: re.Match[str]) -> bool:
    """Whether a word is said of another study, or of what the patient complains of."""
    text = match.string
    before, behind = text[max(0, match.start() - 80) : match.start()], text[match.end() : match.end() + 40]
    return bool(_ELSEWHERE.search(before) or _COMPLAINT.match(behind) or _OTHER_STUDY.match(behind))


def stated(kind: str, texts: Texts) -> frozenset[str]:
    """Keys that an answer plainly says the picture is: where it begins ("Axial CT of ..."), or by "this is ...".

    What a longer text mentions later, another study or a complaint, states nothing about the picture.
    """
    found = set()
    for key, pattern in _claims(kind):
        for answer in texts.answers:
            for match in pattern.finditer(answer):
                before = answer[: match.start()]
                begins = _OPENING.fullmatch(before) is not None and not _is_elsewhere(match)
                if begins or _THIS_IS.search(before):
                    found.add(key)
    return frozenset(found)


def told_by_question(kind: str, texts: Texts) -> frozenset[str]:
    """Keys that the questions say the picture is: one that is named, unless the question asks which it is."""
    found = set()
    for question in texts.questions:
        if _ASKS_WHICH.search(question):
            continue
        own = {key for key, pattern in _claims(kind) if any(not _is_elsewhere(m) for m in pattern.finditer(question))}
        if len(own) == 1:
            found |= own
    return frozenset(found)


def _compatible(key: str) -> set[str]:
    return {key} | {other for group in lexicon()["compatible"] if key in group for other in group}


def _is_short(texts: Texts) -> bool:
    return len(texts.answer.split()) <= _NOTE_WORDS


def alignment(
    sample: Sample, texts: Texts, pictures: Sequence[Picture], profile: Profile
) -> tuple[float | None, list[Reason], dict[str, float]]:
    """1 where a claim agrees with tags and colour, near 0 where it contradicts them, ``None`` where nothing is claimed.

    Agreement of words with pixels is beyond this back-end: a caption of another picture of the same kind passes.
    """
    if not sample.media:
        return None, [], {}
    checks: dict[Reason, float] = {}
    checked = 0
    modality = modality_of(sample)
    modalities, plain = claimed("modalities", texts), stated("modalities", texts)
    asked = told_by_question("modalities", texts)
    told = {modality} if modality else asked
    if told and (modalities or plain):
        checked += 1
        if (plain and not any(plain & _compatible(key) for key in told)) or (
            modalities and not any(modalities & _compatible(key) for key in told) and _is_short(texts)
        ):
            checks[Reason.MODALITY_MISMATCH] = 0.05
    if modality and asked:
        checked += 1
        if not asked & _compatible(modality):
            checks[Reason.MODALITY_MISMATCH] = 0.05
    part = sample.tags.get("anatomy", sample.tags.get("body_part", "")).strip().lower()
    parts, shown = claimed("anatomy", texts), stated("anatomy", texts)
    known = next((key for key, pattern in _claims("anatomy") if part == key or (part and pattern.fullmatch(part))), "")
    regions = {known} if known else told_by_question("anatomy", texts) if not part else frozenset()
    if regions and (parts or shown):
        checked += 1
        foreign = not parts & regions
        if (shown and not shown & regions and foreign) or (parts and foreign and _is_short(texts)):
            checks[Reason.ANATOMY_MISMATCH] = 0.1
    side = _SIDES.get(sample.tags.get("laterality", "").strip().lower(), "")
    sides = {match[1].lower() for match in _SIDE.finditer(texts.answer)}
    if side and sides:
        checked += 1
        if sides == {"left" if side == "right" else "right"}:
            checks[Reason.LATERALITY_MISMATCH] = 0.15
    colour = [picture.values["saturation"] for picture in pictures if picture.values.get("saturation", -1.0) >= 0]
    if colour:
        words, thresholds = lexicon(), profile.alignment
        if modalities & set(words["coloured"]) and not modalities & set(words["grey"]):
            checked += 1
            if max(colour) < thresholds.grey_saturation:
                checks[Reason.COLOUR_MISMATCH] = 0.3
        elif modalities and modalities <= set(words["grey"]):
            checked += 1
            if min(colour) > thresholds.colour_saturation:
                checks[Reason.COLOUR_MISMATCH] = 0.3
    letter_alone = re.fullmatch(r"\W*[A-Za-z]\W*", texts.answer) is not None  # an option, no panel
    if _PANEL.search(texts.answer) and not letter_alone and not sample.options:
        checked += 1
        if len(sample.media) == 1 and not re.search(r"\(a\)|\bpanel a\b", texts.answer, re.I):
            checks[Reason.PANEL_MISSING] = 0.4
    used = {index for turn in sample.turns for index in turn.media_indices}
    if set(range(len(sample.media))) - used:
        checked += 1
        checks[Reason.IMAGE_UNUSED] = 0.3
    if not checked:
        return None, [], {}
    return min(checks.values(), default=1.0), list(checks), {"num_claims_checked": float(checked)}
