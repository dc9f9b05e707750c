"""WordNet's database files read for one purpose: which words share a meaning."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

KINDS = ("noun", "verb", "adj", "adv")
ENDINGS = {
    "noun": (("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"),
             ("men", "man"), ("ies", "y")),
    "verb": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}  # fmt: skip
"""WordNet's rules of detachment (its manual, morphy(7WN)): ending -> what takes its place."""
FOLDERS = ("/usr/share/wordnet", "/usr/local/share/wordnet", "/usr/share/nltk_data/corpora/wordnet")


def find_folder() -> Path | None:
    """Where WordNet's files are: ``$WORDNET_DIR``, Debian's place, or nltk's data."""
    homes = [os.environ.get("WORDNET_DIR"), *FOLDERS]
    homes += [f"{place}/corpora/wordnet" for place in os.environ.get("NLTK_DATA", "").split(os.pathsep) if place]
    homes.append(str(Path.home() / "nltk_data" / "corpora" / "wordnet"))
    return next(
        (Path(home) for home in homes if home and all((Path(home) / f"data.{k}").exists() for k in KINDS)), None
    )


@dataclass(frozen=True)
class Lemma:
    """A word of a meaning, as nltk's METEOR asks for it."""

    word: str

    def name(self) -> str:
        """The word, with underscores for spaces."""
        return self.word


@dataclass(frozen=True)
class Synset:
    """A meaning: its words."""

    words: tuple[str, ...]

    def lemmas(self) -> list[Lemma]:
        """The words."""
        return [Lemma(word) for word in self.words]


class WordNet:
    """Meanings of a word, whatever its inflection. Stands in for nltk's reader in its METEOR."""

    def __init__(self, folder: Path) -> None:
        self._data = {kind: (folder / f"data.{kind}").read_bytes() for kind in KINDS}
        self._index = {kind: _read_index(folder / f"index.{kind}") for kind in KINDS}
        self._exceptions = {kind: _read_exceptions(folder / f"{kind}.exc") for kind in KINDS}
        self._found: dict[str, tuple[Synset, ...]] = {}

    def synsets(self, word: str) -> tuple[Synset, ...]:
        """Every meaning of ``word`` and of the words that it may be an inflection of."""
        if word not in self._found:
            self._found[word] = self._synsets(word)
        return self._found[word]

    def _synsets(self, word: str) -> tuple[Synset, ...]:
        found: dict[tuple[str, int], None] = {}
        for kind in KINDS:
            for form in self._forms(word.lower(), kind):
                for offset in self._index[kind].get(form, ()):
                    found[kind, offset] = None
        return tuple(Synset(self._words(kind, offset)) for kind, offset in found)

    def _forms(self, word: str, kind: str) -> list[str]:
        index = self._index[kind]
        if word in self._exceptions[kind]:
            forms = [word, *self._exceptions[kind][word]]
            return list(dict.fromkeys(form for form in forms if form in index))
        forms, waiting = [word] if word in index else [], [word]
        while waiting:
            waiting = [w[: -len(old)] + new for w in waiting for old, new in ENDINGS[kind] if w.endswith(old)]
            known = [form for form in waiting if form in index]
            if known:
                return list(dict.fromkeys([*forms, *known]))
        return forms

    def _words(self, kind: str, offset: int) -> tuple[str, ...]:
        line = self._data[kind][offset : self._data[kind].index(b"\n", offset)].decode()
        fields = line.split("|")[0].split()
        count = int(fields[3], 16)
        return tuple(fields[4 + 2 * place].split("(")[0] for place in range(count))


def _read_index(path: Path) -> dict[str, tuple[int, ...]]:
    index = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):
            continue  # the licence
        fields = line.split()
        num_meanings = int(fields[2])
        index[fields[0]] = tuple(int(offset) for offset in fields[-num_meanings:])
    return index


def _read_exceptions(path: Path) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        word, *bases = line.split()
        table.setdefault(word, []).extend(bases)
    return table
