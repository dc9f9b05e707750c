"""Whether a rationale shows that its writer was told the answer instead of finding it."""

from __future__ import annotations

import re

_KIND = r"(?:correct|right|final|true|actual|accepted|reference|expected|gold(?:[- ]standard)?|official|target)"
_ANSWER = rf"(?:(?:{_KIND} )*(?:answer|solution)s?|(?:{_KIND} )+(?:option|choice|label|diagnosis|conclusion|verdict)s?)"
"""What is asked for. An option, a label or a diagnosis alone may be anything in the picture or its history."""
_TOLD = r"(?:given|provided|supplied|stated|specified|revealed|disclosed|known|pre-?determined|confirmed)"
_SOURCE = r"(?:reference|gold(?:[- ]standard)?|official|accepted|expected|target)"
_THE = r"(?:the|this|that|your|its)"
_ASKER = r"(?:user|prompt|question|task|instructions?|dataset|annotation)"

_PATTERNS = (
    # the provided answer, the given correct option, the correct known answer, the reference answer
    rf"\b{_THE} (?:already )?{_TOLD} {_ANSWER}\b",
    rf"\b{_THE} {_KIND} {_TOLD} (?:answer|solution|option|choice)\b",
    rf"\b{_THE} (?:{_KIND} )*{_SOURCE} (?:answer|solution|label)s?\b",
    r"\bground[- ]truth\b",
    r"\banswer[- ]?key\b",
    # the answer is given as, the answer, as provided, was; but not "no answer is given", "is given by the image"
    rf"(?<!\bno )\b{_ANSWER},? (?:that |which |as |already |being |is |was |are |has |have |had |been )+"
    r"(?:given|provided|supplied|revealed|disclosed|told|specified|stated)\b(?! by)",
    rf"\b{_ANSWER},? (?:given|provided|supplied|specified|stated) "
    r"(?:to (?:me|us)|above|here|in the (?:prompt|question|instructions?|task|hint)|by the (?:user|prompt|question))\b",
    # I was told the answer, it is stated that the answer is, the prompt says that the answer is
    r"\b(?:i|we) (?:was|were|am|are|have been|had been|'ve been) (?:already )?(?:told|informed|given|provided with)"
    rf" (?:that |about |of )?(?:{_THE} )?{_ANSWER}\b",
    rf"\b(?:it|this) (?:is|was) (?:given|stated|known|specified|said) (?:\w+ ){{0,3}}that (?:{_THE} )?{_ANSWER}\b",
    rf"\b{_ASKER} (?:already )?(?:says?|states?|tells?|gives?|reveals?|indicates?|provides?|specif(?:y|ies))"
    rf" (?:me |us )?(?:that )?(?:{_THE} )?{_ANSWER}\b",
    rf"\b(?:i|we) (?:already )?know (?:that )?(?:from the \w+ )?(?:that )?(?:{_THE} )?{_ANSWER}\b",
    rf"\b(?:knowing|being told|having been told|having been given|told|informed) (?:that |of )?{_THE} {_ANSWER}\b",
    # since the correct answer is B, given that the answer is yes
    rf"\b(?:since|because|as|given(?: that)?|assuming(?: that)?) (?:{_THE} )?{_ANSWER} "
    r"(?:is|was|(?:must|should|has to) be)(?! (?:a|an|one|either|not|in|on|from) )\b",
    # to justify the answer, working backwards from it, to match the given answer
    rf"\b(?:justify|justifies|justifying|rationali[sz]e|explain why|back(?:wards?)? from) (?:that )?{_THE} "
    rf"(?:{_TOLD} )?{_ANSWER}\b",
    rf"\b(?:match(?:es|ing)?|arrive at|reach|fits?|supports?|consistent with|agrees? with|in line with|"
    rf"according to|based on|per|following) {_THE} "
    rf"(?:(?:{_TOLD}|required|desired) (?:{_ANSWER}|label)|{_SOURCE} label|solution)\b",
    r"\b(?:the|this|your|a) hint\b",
    r"\b(?:pretend|act as if|as if) (?:that )?(?:i|we) (?:do|did|don't|didn't|do not|did not) know\b",
    r"\b(?:not|never) (?:mention|reveal|say|admit)(?:ing)? that (?:i|we) (?:know|knew|was|were|am|are)\b",
    # Chinese
    r"(?:参考|标准|给定的?|提供的?|已知的?|所给的?|正确)答案(?:已|给出|提供|告诉|是已知)",
    r"(?:根据|按照|依据|既然|由于|因为)(?:所给的?|给定的?|提供的?|已知的?|参考|标准|正确)?答案",
    r"(?:参考|标准|给定的?|提供的?|所给的?)答案",
    r"答案已(?:经)?(?:给出|给定|提供|知)",
)
_LEAK = re.compile("|".join(f"(?:{pattern})" for pattern in _PATTERNS), re.IGNORECASE)


def leak(text: str) -> str | None:
    """The words by which a text shows that the answer was known beforehand; ``None`` where there are none.

    What is said of findings, images, options or histories that were given is none: only the answer itself counts.
    """
    found = _LEAK.search(re.sub(r"[\s\u00a0]+", " ", text.replace("’", "'").replace("*", "").replace('"', "")))
    return found.group(0) if found else None
