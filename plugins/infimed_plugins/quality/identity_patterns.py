"""Patterns of structured identity in English and Chinese text: numbers, dates, places, addresses of every kind."""

from __future__ import annotations

import re

from infimed_plugins.quality.reasons import Reason

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)[a-z]{0,6}\.?"
_DAY = r"(?:[12]\d|3[01]|0?[1-9])"
_YEAR = r"(?:19|20)\d\d"

FULL_DATE = (
    rf"(?:{_DAY}[/-]{_DAY}[/-](?:{_YEAR}|\d\d)|{_DAY}\.{_DAY}\.{_YEAR}|{_YEAR}[/.-](?:0?[1-9]|1[0-2])[/.-]{_DAY}"
    rf"|{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
    rf"|{_DAY}(?:st|nd|rd|th)?(?: of)?[ -]{_MONTH},?[ -]{_YEAR}|{_MONTH} {_DAY}(?:st|nd|rd|th)?,? {_YEAR}"
    r"|(?:19|20)\d\d ?年 ?\d{1,2} ?月 ?\d{1,2} ?日)(?!\d)"
)
"""A date with its day, month and year."""

_IS = r"\s*(?:numbers?|no\.?|num\.?|nr\.?|code|identifier|id|#)?\s*(?:is|was|of|：|:|=|#|-)?\s*#?\s*"
_CODE = r"(?=[A-Za-z/-]{0,8}[- /]?\d)[A-Za-z]{0,8}[- /]?\d[\dA-Za-z]*(?:[-/.]?\d[\dA-Za-z]*){0,6}"
_RECORD_LABEL = (
    r"mrn|m\.r\.n\.|m ?r ?number|emrn?|ehr|medical record|health record|patient (?:id|ident\w*|number|no|#)|pt\.? id"
    r"|pid|hospital (?:id|number|no)|chart|unit (?:number|no)|accession|acc(?:\.|n)?(?= ?(?:no|num|#|:|\d))|health plan"
    r"|beneficiary|subscriber|member (?:id|number|no)|policy|group (?:number|no)|case (?:id|number|no)"
    r"|nhs(?: number| no)?|medicare|medicaid|insurance(?: (?:id|number|no|policy))?|record (?:id|number|no)"
    r"|account|acct|encounter|visit"
    r"|admission (?:id|number|no)|specimen (?:id|number|no)|order (?:id|number|no)|requisition|exam (?:id|number|no)"
    r"|study (?:id|number|no)|licen[cs]e|certificate|serial (?:number|no)|s/n|passport|vin|plate|device (?:id|number)"
    r"|driver'?s licen[cs]e|npi|dea"
)
_CHINESE_LABEL = (
    "病历号|病案号|住院号|门诊号|就诊号|检查号|影像号|放射号|登记号|申请单号|医保号|医保卡号|社保号|护照号?|患者编号|病人编号"
    "|患者ID|病人ID|ID号|卡号|编号"
)

_IP = r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)"

STRUCTURED: tuple[tuple[Reason, re.Pattern[str]], ...] = (
    (Reason.PHI_EMAIL, re.compile(r"(?<![\w.+-])[\w.+%-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}(?![\w-])")),
    (
        Reason.PHI_BIRTH_DATE,
        re.compile(
            rf"\b(?:dob|d\.o\.b\.?|date of birth|birth ?date|born(?: on)?|birthday)\s*(?:is|was|:|=|-)?\s*{FULL_DATE}"
            rf"|(?:出生日期|出生年月日?|生日|生于)\s*[：:]?\s*{FULL_DATE}",
            re.I,
        ),
    ),
    (
        Reason.PHI_NATIONAL_ID,
        re.compile(
            r"(?<![\dA-Za-z])[1-9]\d{5}(?:18|19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?![\dA-Za-z])"
            r"|(?:身份证号?码?|居民身份证)\s*[：:]?\s*\d{15,17}[\dXx]?"
        ),
    ),
    (Reason.PHI_SOCIAL_SECURITY, re.compile(r"(?<![\d-])(?!000|666)\d{3}-(?!00)\d{2}-(?!0000)\d{4}[A-Z]?(?![\d-])")),
    (
        Reason.PHI_SOCIAL_SECURITY,
        re.compile(rf"\b(?:ssn|social security)\b{_IS}\d{{3}}[- ]?\d{{2}}[- ]?\d{{4}}\b", re.I),
    ),
    (
        Reason.PHI_RECORD_NUMBER,
        re.compile(rf"\b(?:{_RECORD_LABEL})(?![A-Za-z]){_IS}(?=[\w/.-]*\d\w*(?:[-/. ]?\d){{2}}){_CODE}(?![\d])", re.I),
    ),
    (
        Reason.PHI_RECORD_NUMBER,
        re.compile(rf"(?:{_CHINESE_LABEL})\s*(?:是|为)?\s*[：:#]?\s*(?=[A-Za-z-]*\d)[A-Za-z\d-]{{4,20}}"),
    ),
    (
        Reason.PHI_PHONE,
        re.compile(
            r"(?<![\w.-])(?:(?:\+|00)?1[-. ]?|001[-. ])?(?:\(\d{3}\)[ -]?|\d{3}[-. ])\d{3}[-. ]\d{4}"
            r"(?: ?(?:x|ext\.?) ?\d{1,6})?(?![\w-]|\.\d)",
            re.I,
        ),
    ),
    (Reason.PHI_PHONE, re.compile(r"(?<!\w)\+\d{1,3}(?:[-. ]?\(?\d{1,4}\)?){2,5}(?:x\d{1,6})?(?!\w)")),
    (
        Reason.PHI_PHONE,
        re.compile(
            r"\b(?:tele)?(?:phone[ds]?|tel|mobile|cell|fax(?:ed)?"
            r"|call(?:ed)?|call-?back|pager|contact(?: number)|reach(?:ed|able))\b\.?"
            r"\s*(?:numbers?|no\.?|#)?\s*(?:is|:|=|at|on|to)?\s*"
            r"\+?\(?\d[\d ().-]{5,18}\d(?: ?(?:x|ext\.?) ?\d{1,6})?",
            re.I,
        ),
    ),
    (Reason.PHI_PHONE, re.compile(r"(?<![\d.])1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?!\d|\.\d)")),
    (Reason.PHI_PHONE, re.compile(r"(?<![\d.])0\d{2,3}[- ]\d{7,8}(?!\d|\.\d)")),
    (Reason.PHI_PHONE, re.compile(r"(?:电话|手机|联系方式|联系电话|传真)号?码?\s*[：:]?\s*[+(]?\d[\d ()-]{5,16}\d")),
    (
        Reason.PHI_ADDRESS,
        re.compile(
            r"\b\d{1,6}[A-Za-z]?,? (?:(?:North|South|East|West|[NSEW]{1,2})\.? )?(?:[A-Z][\w'.-]* ){1,4}"
            r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Way|Square|Sq|Terrace"
            r"|Highway|Hwy|Parkway|Pkwy|Circle|Cir|Close|Crescent|Gardens?|Mews|Row|Hill|Park|Green|Alley|Annex|Bay"
            r"|Bend|Bluffs?|Branch|Bridge|Brooks?|Burgs?|Bypass|Camp|Canyon|Cape|Causeway|Centers?|Circles|Cliffs?"
            r"|Club|Common|Corners?|Course|Courts|Coves?|Creek|Crest|Crossing|Crossroad|Curve|Dale|Dam|Divide|Drives"
            r"|Estates?|Expressway|Extensions?|Falls?|Ferry|Fields?|Flats?|Fords?|Forest|Forges?|Forks?|Fort|Freeway"
            r"|Gateway|Glens?|Greens|Groves?|Harbors?|Haven|Heights|Hills|Hollow|Inlet|Islands?|Isle|Junctions?|Keys?"
            r"|Knolls?|Lakes?|Land|Landing|Light|Lights|Loaf|Locks?|Lodge|Loop|Mall|Manors?|Meadows?|Mills?|Mission"
            r"|Motorway|Mount|Mountains?|Neck|Orchard|Oval|Overpass|Parks|Parkways|Pass|Passage|Path|Pike|Pines?"
            r"|Plains?|Plaza|Points?|Ports?|Prairie|Radial|Ramp|Ranch|Rapids?|Rest|Ridges?|River|Roads|Route|Rue|Run"
            r"|Shoals?|Shores?|Skyway|Springs?|Spurs?|Squares|Station|Stravenue|Stream|Streets|Summit|Throughway|Trace"
            r"|Track|Trafficway|Trail|Tunnel|Turnpike|Underpass|Unions?|Valleys?|Via|Viaduct|Views?|Villages?|Ville"
            r"|Vista|Walks?|Wall|Ways|Wells?)\b\.?(?:,? (?:(?:Apt|Apartment|Suite|Ste|Unit|Flat)\b\.?|#) ?\w{1,6}\b)?"
        ),
    ),
    (Reason.PHI_ADDRESS, re.compile(r"\b(?:P\.? ?O\.?|(?:PSC|Unit|CMR) \d+,?) Box \d+", re.I)),
    (
        Reason.PHI_ADDRESS,
        re.compile(
            r"\b(?:[A-Z][\w'.-]*(?: [A-Z][\w'.-]*){0,3},?|(?:US\w{1,4} [A-Z]\w+, )?(?:APO|FPO|DPO)),? [A-Z]{2},?"
            r" \d{5}(?:-\d{4})?\b"
        ),
    ),
    (
        Reason.PHI_ADDRESS,
        re.compile(r"\b(?:zip(?: ?code)?|postal code|postcode)\s*(?:is|:|=)?\s*[A-Z\d]{3,5}[- ]?[A-Z\d]{0,4}\b", re.I),
    ),
    (
        Reason.PHI_ADDRESS,
        re.compile(
            r"(?:[\u4e00-\u9fff]{2,7}(?:省|市|自治区))?[\u4e00-\u9fff]{2,7}(?:市|区|县)[\u4e00-\u9fff]{1,10}(?:路|街|道|巷|村|镇)"
            r"\s?\d+\s?(?:号|弄)?(?:\s?\d+\s?(?:室|栋|单元|号楼))*"
        ),
    ),
    (
        Reason.PHI_NETWORK,  # with a part of three digits, or behind its label: versions have four parts too
        re.compile(
            rf"(?<![\d.])(?=(?:\d{{1,3}}\.){{0,3}}\d{{3}}){_IP}(?!\d|\.\d)"
            rf"|\bip(?:v4)?(?: address)?\s*(?:is|:|=)?\s*{_IP}",
            re.I,
        ),
    ),
    (Reason.PHI_AGE, re.compile(r"\b(?:9\d|1[01]\d)[ -]?(?:years?|yrs?|y)[ -]?(?:old|o\b|of age)", re.I)),
    (Reason.PHI_AGE, re.compile(r"(?:年龄\s*[：:]?\s*)(?:9\d|1[01]\d)|(?<!\d)(?:9\d|1[01]\d) ?岁")),
    (Reason.PHI_DATE, re.compile(rf"(?<![\w./-]){FULL_DATE}(?![\d]|[./-]\d|\w)", re.I)),
)
"""In the order in which they are tried; what one has taken the later ones leave."""
