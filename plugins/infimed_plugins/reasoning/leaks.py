"""Whether a rationale shows that its writer was told the answer instead of finding it."""

from __future__ import annotations

import re

_ANSWER = r"(?:answers?|options?|choices?|labels?|solutions?|diagnos[ie]s|results?|conclusions?)"
_TOLD = r"(?:given|provided|supplied|stated|specified|indicated|revealed|disclosed|listed|marked|shown|confirmed|known)"
_SOURCE = r"(?:reference|ground[- ]truth|gold(?:[- ]standard)?|official|accepted|expected|target|pre-?determined)"
_KIND = r"(?:correct|right|final|true|actual|accepted|reference|expected)"
_THE = r"(?:the|this|that|your|an?|its)"

_PATTERNS = (
    # the provided answer, the given correct option, the reference answer, the ground truth, the answer key
    rf"\b{_THE} (?:already )?{_TOLD} (?:{_KIND} )*{_ANSWER}\b",
    rf"\b{_THE} (?:{_KIND} )*{_SOURCE} {_ANSWER}\b",
    r"\bground[- ]truth\b",
    r"\banswer[- ]?key\b",
    r"\bgold (?:answer|label)\b",
    # the answer is given as, the answer that was provided, the correct option as stated in the prompt
    rf"\b{_ANSWER} (?:that )?(?:is|was|were|are|has been|have been|had been) (?:already )?"
    r"(?:given|provided|supplied|revealed|disclosed|told|specified)\b",
    rf"\b{_ANSWER},? (?:as )?(?:given|provided|supplied|specified|indicated|stated) "
    r"(?:to (?:me|us)|above|here|in the (?:prompt|question|instructions?|task|hint)|by the (?:user|prompt|question))\b",
    rf"\b(?:as|like) (?:the )?{_ANSWER} (?:says|states|indicates|suggests|tells)\b",
    # I was told, we already know that the answer is, knowing the answer
    r"\b(?:i|we) (?:was|were|am|are|have been|had been|'ve been) (?:already )?(?:told|informed|given|provided with) "
    rf"(?:that |about )?(?:{_THE} )?(?:\w+ ){{0,2}}{_ANSWER}\b",
    rf"\b(?:i|we) (?:already )?know (?:that |from the (?:prompt|question|hint) )*(?:{_THE} )?(?:{_KIND} )?{_ANSWER}\b",
    rf"\b(?:knowing|being told|having been told|having been given|told|informed) (?:that )?(?:{_THE} )"
    rf"(?:{_KIND} )?{_ANSWER}\b",
    # since the correct answer is B, given that the answer is yes, assuming the right option is
    rf"\b(?:since|because|as|given(?: that)?|knowing(?: that)?|assuming(?: that)?) (?:{_THE} )?"
    rf"(?:{_KIND} (?:answer|option|choice|label)|answer|label) (?:is|was|must be|should be|has to be)\b",
    # to justify the answer, to arrive at the required answer, reasoning backwards
    rf"\b(?:justify|justifies|justifying|rationali[sz]e|work(?:ing)? back(?:wards?)? from|back(?:wards?)? from) "
    rf"(?:{_THE} )?(?:{_KIND} |{_TOLD} )*{_ANSWER}\b",
    r"\b(?:match(?:es|ing)?|arrive at|reach|fits?|supports?|consistent with|agrees? with|in line with) "
    rf"(?:{_THE} )(?:{_TOLD}|{_SOURCE}|required|desired) (?:{_KIND} )*{_ANSWER}\b",
    rf"\b(?:according to|based on|per|following) (?:{_THE} )(?:{_KIND} |{_TOLD} |{_SOURCE} )*"
    r"(?:answers?|labels?|solutions?)\b",
    r"\b(?:the|this|your|a) hint\b",
    r"\b(?:pretend|act as if|as if) (?:that )?(?:i|we) (?:do|did|don't|didn't|do not|did not) know\b",
    # Chinese
    r"(?:参考|标准|给定的?|提供的?|已知的?|所给的?|正确)答案(?:已|给出|提供|告诉|是已知)",
    r"(?:根据|按照|依据|既然|由于|因为)(?:所给的?|给定的?|提供的?|已知的?|参考|标准|正确)?答案",
    r"(?:参考|标准|给定的?|提供的?|所给的?)答案",
    r"答案已(?:经)?(?:给出|给定|提供|知)",
)
_LEAK = re.compile("|".join(f"(?:{pattern})" for pattern in _PATTERNS), re.IGNORECASE)


def leak(text: str) -> str | None:
    """The words by which a text shows that the answer was known beforehand; ``None`` where there are none.

    What is said of findings, images or histories that were given is none: only the answer itself counts.
    """
    found = _LEAK.search(re.sub(r"[\s\u00a0]+", " ", text.replace("’", "'").replace("*", "").replace('"', "")))
    return found.group(0) if found else None
