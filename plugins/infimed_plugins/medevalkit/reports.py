"""Radiology reports: word overlap of the whole report and of its findings and impression apart."""

from __future__ import annotations

import re

from infimed_plugins.medevalkit.answers.prepared import prepare
from infimed_plugins.medevalkit.answers.refusals import is_refusal
from infimed_plugins.medevalkit.grades import Grade, Record
from infimed_plugins.medevalkit.overlap import bleu, bleu_tokens, rouge

KEYS = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge1", "rouge2", "rougel")
_IMPRESSION = re.compile(r"\bimpressions?\s*:", re.IGNORECASE)
_FINDINGS = re.compile(r"\bfindings?\s*:", re.IGNORECASE)


def sections(report: str) -> tuple[str, str]:
    """Findings and impression of a report in the format that the prompt asks for; "" for one that is not marked."""
    cut = _IMPRESSION.search(report)
    head, tail = (report[: cut.start()], report[cut.end() :]) if cut else (report, "")
    start = _FINDINGS.search(head)
    findings = head[start.end() :] if start else ""
    return findings.strip(), tail.strip()


def with_reference(record: Record) -> Record:
    """The record with the whole reference report, as MedEvalKit puts it together from the two sections."""
    if "answer" in record or not ("findings" in record or "impression" in record):
        return record
    return {**record, "answer": f"Findings: {record.get('findings')} Impression: {record.get('impression')}."}


def texts(record: Record, report: str) -> dict[str, tuple[str, str]]:
    """Section -> (reference, report): the whole (``""``), and findings and impression where the reference has them."""
    found = {"": (str(record["answer"]), report)}
    for name, given in zip(("findings", "impression"), sections(report), strict=True):
        if str(record.get(name) or "").strip():
            found[name] = (str(record[name]), given)
    return found


def overlap(reference: str, hypothesis: str) -> dict[str, float]:
    """BLEU-1 to 4 as nltk's sentence_bleu without smoothing, ROUGE F as rouge 1.0.1; zeros without a word."""
    wanted = [token for token in bleu_tokens(reference) if token]
    given = [token for token in bleu_tokens(hypothesis) if token]
    try:
        rouges = rouge(reference.lower(), hypothesis.lower())
    except ValueError:
        rouges = (0.0, 0.0, 0.0)
    return dict(zip(KEYS, (*bleu(wanted, given), *rouges), strict=True))


def grade(record: Record, response: str | None, scoring: str) -> Grade:
    """The value is ROUGE-L of the whole report, the rest are parts.

    ``strict`` leaves an empty report or a refusal unscored and adds ``findings`` and ``impression`` apart;
    ``kit`` counts an empty one as zero, as MedEvalKit's side script does by its denominator.
    """
    text: str | None = response
    if scoring == "strict":
        prepared = prepare(response, record.get("finish_reason"))
        if prepared.reason:
            return Grade(None, prepared.reason, "report")
        text = prepared.whole
        if is_refusal(text) and len(text.split()) < 30:
            return Grade(None, "refusal", "report")
    parts: dict[str, float | None] = dict(overlap(str(record["answer"]), text or ""))
    if scoring == "strict":
        for name, (wanted, given) in texts(record, text or "").items():
            if name:
                parts |= {f"{name}_{key}": value for key, value in overlap(wanted, given).items()}
    return Grade(min(1.0, parts["rougel"] or 0.0), kind="report", parts=parts)
