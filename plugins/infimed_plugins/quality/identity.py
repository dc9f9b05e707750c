"""Recognisers of identity in text: structured patterns, each with the reason that it gives."""

from __future__ import annotations

import re

from infimed_plugins.quality.reasons import Reason

_DATE = (
    r"(?:\d{1,2}[/.-]\d{1,2}[/.-](?:\d{4}|\d{2})|\d{4}[/.-]\d{1,2}[/.-]\d{1,2}|(?:19|20)\d{6}"
    r"|\d{1,2}(?:st|nd|rd|th)? (?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*,? \d{4}"
    r"|(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.? \d{1,2}(?:st|nd|rd|th)?,? \d{4})"
)
_IS = r"\s*(?:number|no\.?|num|nr\.?|id|#)?\s*(?:is|:|=|#|-)?\s*#?\s*"

STRUCTURED: tuple[tuple[Reason, re.Pattern[str]], ...] = (
    (
        Reason.PHI_RECORD_NUMBER,
        re.compile(
            rf"\b(?:mrn|m\.r\.n\.|medical record|patient (?:id|number|no)|hospital (?:id|number|no)|chart|accession"
            rf"|acc|health plan|beneficiary|case (?:id|number|no)|nhs|insurance (?:id|number|no)|record)\b{_IS}"
            rf"(?=[a-z-]{{0,5}}[- ]?\d)[a-z]{{0,5}}[- ]?\d[\d-]{{3,14}}\b",
            re.I,
        ),
    ),
    (Reason.PHI_SOCIAL_SECURITY, re.compile(r"(?<![\d-])(?!000|666)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")),
    (
        Reason.PHI_SOCIAL_SECURITY,
        re.compile(rf"\b(?:ssn|social security)\b{_IS}\d{{3}}[- ]?\d{{2}}[- ]?\d{{4}}\b", re.I),
    ),
    (
        Reason.PHI_PHONE,
        re.compile(r"(?<![\w.-])(?:\+?1[-. ]?)?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![\w-]|\.\d)"),
    ),
    (Reason.PHI_PHONE, re.compile(r"(?<!\w)\+\d{1,3}(?:[-. ]?\(?\d{1,4}\)?){2,5}(?!\w)")),
    (
        Reason.PHI_PHONE,
        re.compile(
            r"\b(?:phone|telephone|tel|mobile|cell|fax|call)\b\.?\s*(?:number|no\.?)?\s*(?:is|:|=|at)?\s*"
            r"\+?\(?\d[\d ().-]{5,18}\d",
            re.I,
        ),
    ),
    (Reason.PHI_EMAIL, re.compile(r"\b[\w.+%-]+@[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}\b", re.I)),
    (
        Reason.PHI_BIRTH_DATE,
        re.compile(
            rf"\b(?:dob|d\.o\.b\.?|date of birth|birth ?date|born(?: on)?|birthday)\s*(?:is|was|:|=|-)?\s*{_DATE}", re.I
        ),
    ),
    (
        Reason.PHI_ADDRESS,
        re.compile(
            r"\b\d{1,5}[a-z]? (?:[NSEW]\.? )?(?:[A-Z][\w'.-]*[ ]){1,4}(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd"
            r"|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Way|Square|Sq|Terrace|Highway|Hwy|Parkway|Pkwy|Circle|Cir)\b\.?"
        ),
    ),
    (Reason.PHI_ADDRESS, re.compile(r"\bP\.? ?O\.? Box \d+", re.I)),
    (Reason.PHI_ADDRESS, re.compile(r"\b[A-Z][a-z]+(?: [A-Z][a-z]+)?, [A-Z]{2} \d{5}(?:-\d{4})?\b")),
)

NAMES: tuple[re.Pattern[str], ...] = (
    re.compile(r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Professor|Doctor)\.? (?:[A-Z]\.? )?[A-Z][a-z]+(?:[- ][A-Z][a-z]+)?\b"),
    re.compile(r"\b(?:[Pp]atient(?:'s)?(?: [Nn]ame)?|[Nn]ame)\s*(?::|=|is|named)\s*[A-Z][a-z]+,? [A-Z][a-z]+\b"),
    re.compile(r"\b[A-Z]{2,}\^[A-Z]{2,}\b"),
)


def identities(text: str, names: bool = True) -> list[Reason]:
    """Every kind of identity found in ``text``, each once, in a fixed order.

    Names are found only behind a title or a label; a bare name passes.
    """
    found = [reason for reason, pattern in STRUCTURED if pattern.search(text)]
    if names and any(pattern.search(text) for pattern in NAMES):
        found.append(Reason.PHI_NAME)
    return list(dict.fromkeys(found))
