"""Metrics of texts: CIDEr-D by hand, METEOR with WordNet's files, the metrics of other packages or their remedy."""

from __future__ import annotations

import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infimed_core import Answer, ConfigError, InfimedError, Sample, Score, TextMetric, Turn
from infimed_core.evaluate.graded import Graded
from infimed_core.evaluate.summary import measure_texts
from infimed_core.plugins import load_plugins
from infimed_core.runfile.loading import load_run_file
from infimed_core.testing import run
from infimed_plugins.medevalkit.benchmarks import table
from infimed_plugins.metrics import external
from infimed_plugins.metrics.cider import Cider
from infimed_plugins.metrics.wordnet import KINDS, WordNet, find_folder

DATA = Path(__file__).parents[1] / "fixtures" / "medevalkit" / "data"
WORDS = st.lists(st.sampled_from(["heart", "lung", "clear", "large", "no", "effusion"]), max_size=8).map(" ".join)


def test_cider_is_that_of_pycocoevalcap() -> None:
    # values of pycocoevalcap 1.2 (PyPI) on the same words
    references = ["the lungs are clear", "the heart is large", "no effusion is seen"]
    values = Cider().measure(references, ["lungs are clear today", "the heart is large", "a"])
    assert values == pytest.approx([5.034191454929, 10.0, 0.0], abs=1e-11)


def test_cider_by_hand() -> None:
    # "a b" against "a c": of two references both hold "a" (weight 0), one "b", one "c", one each pair
    first, second = Cider().measure(["a b", "a c"], ["a c", "a c"])
    assert first == 0.0  # nothing rare is shared
    # orders 3 and 4 have no n-grams, so two of four orders agree wholly
    assert second == pytest.approx(10 * 2 / 4)


def test_a_difference_in_length_costs_cider_what_its_gaussian_says() -> None:
    references = ["x y z", "q"]
    (value, _) = Cider().measure(references, ["x y z x y z", None])
    assert value is not None and value < 10 * math.exp(-(3**2) / 72)


def test_the_corpus_of_cider_holds_the_references_of_unscored_answers() -> None:
    references = ["clear lungs", "clear heart", "large heart"]
    every = Cider().measure(references, ["clear lungs", "clear heart", "large heart"])
    some = Cider().measure(references, ["clear lungs", None, "large heart"])
    assert some == [every[0], None, every[2]]
    assert Cider().measure(["alone"], ["alone"]) == [None]


@given(st.lists(st.tuples(WORDS, WORDS), min_size=2, max_size=6))
@settings(max_examples=60)
def test_cider_lies_between_nothing_and_ten(pairs: list[tuple[str, str]]) -> None:
    values = Cider().measure([a for a, _ in pairs], [b for _, b in pairs])
    assert all(value is not None and -1e-9 <= value <= 10 + 1e-9 for value in values)


def test_reports_are_measured_whole_and_by_section_each_over_those_that_have_it(tmp_path: Path) -> None:
    folder = {"path": str(DATA / "iu-xray")}
    document = {
        "run": {"name": "reports"},
        "model": {"use": "constant", "with": {"text": "Findings: The ellipse is bright. Impression: Normal."}},
        "evaluation": {"benchmarks": [{"use": "iu-xray", "with": folder}]},
    }
    record = run(document, tmp_path)
    metrics = next(row.metrics for row in record.results if row.model == "base" and not row.group)
    assert {"cider", "findings-cider", "impression-cider", "bleu-4", "rouge-l", "findings-rouge-l"} <= set(metrics)
    # the second report has no impression: measures of it stand on the first alone, of which CIDEr can make nothing
    assert {name: value.num_scored for name, value in metrics.items() if value.num_scored != 2} == {
        "impression-rouge-l": 1, "impression-bleu-4": 1, "impression-cider": 0,
    }  # fmt: skip
    assert metrics["impression-cider"].value is None
    assert {value.num_unscored for value in metrics.values()} == {0}
    assert metrics["cider"].value is not None and metrics["cider"].value > 0
    comparison = next(one for one in record.comparisons if one.against == "most-common-answer")
    assert comparison.metric == "rouge-l" and comparison.p_value is not None


def test_an_empty_report_is_unscored_everywhere_and_counted() -> None:
    component = table()["iu-xray"](path=str(DATA / "iu-xray"))
    samples = [row for row in component.samples() if isinstance(row, Sample)]
    answers = [Answer(sample_id=samples[0].id, text=""), Answer(sample_id=samples[1].id, text=samples[1].references[0])]
    rows = [
        Graded(sample, answer, {"strict": component.grade(sample, answer, "strict")})
        for sample, answer in zip(samples, answers, strict=True)
    ]
    measured = measure_texts(component, rows, [Cider()])
    assert "cider" not in measured[0].scores["strict"].parts
    assert measured[1].scores["strict"].parts["cider"] == pytest.approx(10.0)


def write_wordnet(folder: Path) -> Path:
    """A WordNet of three meanings in its file format: {clear, unclouded}, {lung}, {see, view}."""
    folder.mkdir()
    entries = {
        "noun": [("lung", ["lung"])], "verb": [("see", ["see", "view"]), ("view", ["see", "view"])],
        "adj": [("clear", ["clear", "unclouded(p)"]), ("unclouded", ["clear", "unclouded(p)"])], "adv": [],
    }  # fmt: skip
    for kind in KINDS:
        data, offsets = "  1 a licence\n", {}
        for _, words in entries[kind]:
            if tuple(words) in offsets:
                continue
            offsets[tuple(words)] = len(data)
            listed = " ".join(f"{word} 0" for word in words)
            data += f"{len(data):08d} 00 {kind[0]} {len(words):02x} {listed} 000 | a gloss; unrelated words\n"
        index = "  1 a licence\n"
        for word, words in entries[kind]:
            index += f"{word} {kind[0]} 1 0 1 0 {offsets[tuple(words)]:08d}\n"
        (folder / f"data.{kind}").write_text(data)
        (folder / f"index.{kind}").write_text(index)
        (folder / f"{kind}.exc").write_text("saw see\n" if kind == "verb" else "")
    return folder


def test_meteor_counts_wordnets_synonyms_and_inflections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = WordNet(write_wordnet(tmp_path / "wordnet"))
    assert [s.words for s in net.synsets("unclouded")] == [("clear", "unclouded")]
    assert [s.words for s in net.synsets("saw")] == [("see", "view")]
    assert [s.words for s in net.synsets("lungs")] == [("lung",)]
    assert net.synsets("nothing") == ()
    monkeypatch.setenv("WORDNET_DIR", str(tmp_path / "wordnet"))
    external._wordnet.cache_clear()
    assert external.Meteor().missing() == ""
    same, alike, other, empty = external.Meteor().measure(["see lung"] * 4, ["see lung", "view lungs", "x y", ""])
    external._wordnet.cache_clear()
    assert same is not None and alike is not None
    assert same == alike > 0.5 and other == 0.0 and empty == 0.0


def test_a_metric_that_is_not_installed_is_told_with_the_run_files_other_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external.util, "find_spec", lambda name: None)
    file = tmp_path / "run.yaml"
    file.write_text(
        "run: {name: missing}\nmodel: {use: constant, with: {text: A}}\nevaluation:\n  benchmarks:\n"
        "    - {use: iu-xray, metrics: [radgraph-f1]}\n    - {use: iu-xray, metrics: [rouge-l, part-mean]}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_run_file(file, load_plugins())
    first, second = str(caught.value).splitlines()
    assert ":5: " in first and "'radgraph-f1' needs the package 'radgraph': pip install 'infimed[radgraph]'" in first
    assert ":6: " in second and "'part-mean' needs settings" in second


class Missing(Cider):
    """A metric that a benchmark wants by itself."""

    def missing(self) -> str:
        return "needs what nobody has"


def test_what_a_benchmark_wants_by_itself_is_checked_before_a_model_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cider, "missing", Missing.missing)
    document = {
        "run": {"name": "missing"},
        "model": {"use": "constant", "with": {"text": "A"}},
        "evaluation": {"benchmarks": [{"use": "iu-xray", "with": {"path": str(DATA / "iu-xray")}}]},
    }
    with pytest.raises(InfimedError, match=r"evaluation.benchmarks.0: 'cider' needs what nobody has"):
        run(document, tmp_path)
    assert not (tmp_path / "runs/missing/cache").exists()


def test_meteor_without_wordnet_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORDNET_DIR", str(tmp_path))
    monkeypatch.setattr("infimed_plugins.metrics.wordnet.FOLDERS", ())
    monkeypatch.setattr("infimed_plugins.metrics.wordnet.Path.home", lambda: tmp_path)
    monkeypatch.delenv("NLTK_DATA", raising=False)
    assert find_folder() is None
    assert "apt install wordnet-base" in external.Meteor().missing()


@pytest.mark.parametrize(
    ("component", "module", "content"),
    [
        (external.RadGraph, "radgraph",
         {"F1RadGraph": lambda reward_level: lambda hyps, refs: (0, [0.25] * len(hyps), 0, 0)}),
        (external.CheXbert, "f1chexbert",
         {"F1CheXbert": lambda: types.SimpleNamespace(get_label=lambda text: [int("a" in text), int("b" in text)])}),
        (external.RaTeScore, "RaTEScore",
         {"RaTEScore": lambda use_gpu: types.SimpleNamespace(compute_score=lambda c, r: [0.5] * len(c))}),
        (external.BertScore, "bert_score", {"score": lambda c, r, lang, verbose: (None, None, [0.75] * len(c))}),
        (external.Green, "green_score",
         {"GREEN": lambda name, output_dir: lambda r, c: (0, 0, [1.0] * len(c), "", None)}),
    ],
)  # fmt: skip
def test_a_package_gets_the_scored_answers_in_order_and_its_values_come_back(
    component: type[TextMetric], module: str, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # the packages' weights come from a hub, so what is tested here is our side of the interface
    monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**content))
    monkeypatch.setattr(external, "_INSTANCES", {})
    values = component().measure(["a", "a b", "a"], ["a", None, " "])
    assert values[1] is None and values[2] == 0.0 and values[0] is not None and 0 < values[0] <= 1


def test_label_agreement_is_f1_over_positive_labels() -> None:
    assert external.label_f1([1, 1, 0], [1, 0, 1]) == pytest.approx(0.5)
    assert external.label_f1([0, 0], [0, 0]) == 1.0
    assert external.label_f1([1], [0]) == 0.0


def test_a_text_metric_is_the_mean_of_its_part() -> None:
    scores = [Score(value=1.0, parts={"cider": 4.0}), Score(value=1.0, parts={"cider": 2.0})]
    assert Cider().compute(scores) == 3.0
    assert list(Cider().values(scores)) == [4.0, 2.0]  # type: ignore[arg-type]
    assert np.isnan(Cider().values([*scores, Score(value=1.0)])).tolist() == [False, False, True]  # type: ignore[arg-type]


def test_any_benchmark_can_be_measured_by_texts(tmp_path: Path) -> None:
    sample = Sample(id="a", turns=(Turn(role="user", content=("q",)),), references=("clear lungs",))
    component = load_plugins().find("benchmark", "demo-text")()
    texts = component.compared_texts(sample, Answer(sample_id="a", text="clear"))  # type: ignore[attr-defined]
    assert texts == {"": ("clear lungs", "clear")}
