"""Metrics of reports that other packages compute: the real package where it is installed, else one line of remedy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import util
from typing import Any, ClassVar

from infimed_core import TextMetric
from infimed_plugins.metrics.words import words


class ExternalMetric(TextMetric):
    """A metric of texts that ``package`` computes; its mean is over all scored answers, as for every other metric."""

    package: ClassVar[str]
    """The module that does the work."""
    remedy: ClassVar[str]
    """The command that installs it, and what it loads at first use."""

    def missing(self) -> str:
        """The remedy, where the package is not there."""
        return "" if util.find_spec(self.package) else f"needs the package '{self.package}': {self.remedy}"

    def measure(self, references: Sequence[str], texts: Sequence[str | None]) -> list[float | None]:
        """Only scored answers are handed to the package, an empty one as 0.0; in their order."""
        values: list[float | None] = [None if text is None else 0.0 for text in texts]
        places = [index for index, text in enumerate(texts) if text is not None and text.strip()]
        if places:
            found = self.compare([references[index] for index in places], [str(texts[index]) for index in places])
            for index, value in zip(places, found, strict=True):
                values[index] = float(value)
        return values

    def compare(self, references: list[str], texts: list[str]) -> Sequence[float]:
        """One value for each pair of non-empty texts."""
        raise NotImplementedError


class Meteor(ExternalMetric):
    """Mean METEOR (Banerjee and Lavie 2005) as nltk computes it, with WordNet's synonyms."""

    key: ClassVar[str] = "meteor"
    package: ClassVar[str] = "nltk"
    remedy: ClassVar[str] = "pip install 'infimed[meteor]'"

    def missing(self) -> str:
        """nltk and WordNet's files."""
        from infimed_plugins.metrics.wordnet import find_folder

        if problem := super().missing():
            return problem
        if find_folder() is None:
            return (
                "needs WordNet's files: 'apt install wordnet-base', or 'python -m nltk.downloader wordnet' and unpack "
                "it, or set WORDNET_DIR to the folder that holds data.noun"
            )
        return ""

    def compare(self, references: list[str], texts: list[str]) -> Sequence[float]:
        """nltk's ``single_meteor_score`` with its own settings (alpha 0.9, beta 3, gamma 0.5)."""
        from nltk.translate.meteor_score import single_meteor_score

        net = _wordnet()
        return [
            single_meteor_score(words(reference), words(text), wordnet=net) if words(reference) else 0.0
            for reference, text in zip(references, texts, strict=True)
        ]


@lru_cache(maxsize=1)
def _wordnet() -> Any:
    from infimed_plugins.metrics.wordnet import WordNet, find_folder

    folder = find_folder()
    assert folder is not None  # missing() was asked before
    return WordNet(folder)


class BertScore(ExternalMetric):
    """Mean F1 of BERTScore (Zhang et al. 2020), the package's default English model, without rescaling."""

    key: ClassVar[str] = "bertscore"
    package: ClassVar[str] = "bert_score"
    remedy: ClassVar[str] = "pip install 'infimed[bertscore]'; it loads roberta-large from the hub at first use"

    def compare(self, references: list[str], texts: list[str]) -> Sequence[float]:
        """``bert_score.score``, its F1."""
        from bert_score import score

        _, _, values = score(texts, references, lang="en", verbose=False)
        return [float(value) for value in values]


class RadGraph(ExternalMetric):
    """Mean RadGraph-F1 (Jain et al. 2021; Delbrouck et al. 2022), reward level ``partial``: entities and relations."""

    key: ClassVar[str] = "radgraph"
    package: ClassVar[str] = "radgraph"
    remedy: ClassVar[str] = "pip install 'infimed[radgraph]'; it loads its model from the hub at first use"

    def compare(self, references: list[str], texts: list[str]) -> Sequence[float]:
        """``F1RadGraph``, its list of rewards."""
        _, values, _, _ = _instance("radgraph", lambda module: module.F1RadGraph(reward_level="partial"))(
            hyps=texts, refs=references
        )
        return list(values)


class CheXbert(ExternalMetric):
    """Mean F1 over CheXbert's 14 labels of a report (Smit et al. 2020): positive labels found in both texts.

    An average over reports; the micro and macro averages over labels that papers also print are other numbers.
    """

    key: ClassVar[str] = "chexbert"
    package: ClassVar[str] = "f1chexbert"
    remedy: ClassVar[str] = "pip install 'infimed[chexbert]'; it loads CheXbert's weights from the hub at first use"

    def compare(self, references: list[str], texts: list[str]) -> Sequence[float]:
        """Labels by ``F1CheXbert.get_label``, which counts uncertain ones as positive."""
        labeller = _instance("f1chexbert", lambda module: module.F1CheXbert())
        pairs = zip(references, texts, strict=True)
        return [label_f1(labeller.get_label(reference), labeller.get_label(text)) for reference, text in pairs]


class RaTeScore(ExternalMetric):
    """Mean RaTEScore (Zhao et al. 2024): medical entities, matched by embedding."""

    key: ClassVar[str] = "ratescore"
    package: ClassVar[str] = "RaTEScore"
    remedy: ClassVar[str] = "pip install 'infimed[ratescore]'; it loads RaTE-NER and BioLORD from the hub at first use"

    def compare(self, references: list[str], texts: list[str]) -> Sequence[float]:
        """``RaTEScore().compute_score(candidates, references)``."""
        return list(
            _instance("RaTEScore", lambda module: module.RaTEScore(use_gpu=_has_gpu())).compute_score(texts, references)
        )


class Green(ExternalMetric):
    """Mean GREEN (Ostmeier et al. 2024): a language model counts a report's matched findings and errors."""

    key: ClassVar[str] = "green"
    package: ClassVar[str] = "green_score"
    remedy: ClassVar[str] = (
        "pip install green_score (Python 3.11); it loads GREEN-radllama2-7b from the hub at first use and wants a GPU"
    )

    def compare(self, references: list[str], texts: list[str]) -> Sequence[float]:
        """``GREEN(model)(references, candidates)``, its list of scores."""
        make: Callable[[Any], Any] = lambda module: module.GREEN("StanfordAIMI/GREEN-radllama2-7b", output_dir=".")  # noqa: E731
        _, _, values, _, _ = _instance("green_score", make)(references, texts)
        return list(values)


def label_f1(wanted: Sequence[int], given: Sequence[int]) -> float:
    """F1 of two lists of 0 and 1; two reports without any positive label agree: 1.0."""
    both = sum(bool(a) and bool(b) for a, b in zip(wanted, given, strict=True))
    either = sum(map(bool, wanted)) + sum(map(bool, given))
    return 2 * both / either if either else 1.0


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


_INSTANCES: dict[str, Any] = {}


def _instance(package: str, make: Callable[[Any], Any]) -> Any:
    """The package's scorer, made once in a process: it holds a model."""
    if package not in _INSTANCES:
        from importlib import import_module

        _INSTANCES[package] = make(import_module(package))
    return _INSTANCES[package]
