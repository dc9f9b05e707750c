"""Options in other orders: the right letter moves along, and what only follows the place of an option is seen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from infimed_core import Answer, Fault, LoadedModel, MediaLoader, Request, Sample
from infimed_core.testing import check_benchmark, run
from infimed_plugins.medevalkit.shuffled import OptionShuffled
from infimed_plugins.vlm.baselines import Constant

DATA = Path(__file__).parents[1] / "fixtures" / "medevalkit" / "data"
WORDS = ("liver", "spleen", "kidney", "heart")


def own(tmp_path: Path, num: int = 6) -> dict[str, Any]:
    rows = [
        {
            "id": f"q{number}",
            "turns": [
                {"role": "user", "content": [f"Which organ is number {number}?"]},
                {"role": "assistant", "content": [WORDS[number % 4]]},
            ],
            "options": list(WORDS),
        }
        for number in range(num)
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"use": "questions", "with": {"reader": {"use": "jsonl", "with": {"path": str(tmp_path / "q.jsonl")}}}}


def test_every_order_shows_the_options_it_grades(tmp_path: Path) -> None:
    component = OptionShuffled.model_validate({"benchmark": own(tmp_path), "orders": 5})
    samples = check_benchmark(component)
    assert len(samples) == 30 and len({row.tags["order"] for row in samples if row.tags["question"] == "q0"}) == 5
    for sample in samples:
        lines = [f"{letter}. {text}" for letter, text in zip("ABCD", sample.options, strict=True)]
        assert "\n".join(lines) in sample.turns[0].text
        right = WORDS[int(sample.tags["question"][1:]) % 4]
        assert sample.options["ABCD".index(sample.references[0])] == right
        for number, (letter, text) in enumerate(zip("ABCD", sample.options, strict=True)):
            for said in (letter, text, f"{letter}. {text}"):
                score = component.grade(sample, Answer(sample_id=sample.id, text=said), "strict")
                assert score.value == float(text == right), (number, said)


@pytest.mark.parametrize("name", ["medqa-usmle", "pubmedqa", "medmcqa", "medframeqa", "pmc-vqa", "supergpqa"])
def test_the_kits_multiple_choice_can_be_asked_so(name: str) -> None:
    component = OptionShuffled.model_validate({"benchmark": {"use": name, "with": {"path": str(DATA / name)}}})
    rows = list(component.samples())
    assert not [row for row in rows if isinstance(row, Fault)]
    samples = [row for row in rows if isinstance(row, Sample)]
    assert samples
    for sample in samples:
        for letter, text in zip("ABCDEFGHIJ", sample.options, strict=False):
            # letter and text: some options of these tiny sets are letters themselves
            score = component.grade(sample, Answer(sample_id=sample.id, text=f"{letter}. {text}"), "strict")
            assert score.value == float(letter == sample.references[0])


class Knowing(LoadedModel):
    """Says the text that it knows to be right."""

    identity = "knowing"

    def answer(self, requests: Sequence[Request], media: MediaLoader) -> Iterator[Answer]:
        for request in requests:
            number = int(request.turns[0].text.split("number ")[1].split("?")[0])
            yield Answer(sample_id=request.sample_id, text=WORDS[number % 4])


def test_a_letter_throughout_is_neither_consistent_nor_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Constant.load
    monkeypatch.setattr(Constant, "load", lambda self, at: Knowing() if self.text == "know" else whole(self, at))
    models = {name: {"use": "constant", "with": {"text": text}} for name, text in (("knows", "know"), ("a", "A"))}
    benchmark = {"use": "option-shuffled", "with": {"benchmark": own(tmp_path, 8), "orders": 4}}
    document = {
        "run": {"name": "orders"},
        "models": models,
        "evaluation": {"models": list(models), "benchmarks": [benchmark]},
    }
    record = run(document, tmp_path)
    whole_sets = [row for row in record.results if not row.group]
    found = {row.model: {name: value.value for name, value in row.metrics.items()} for row in whole_sets}
    assert (found["knows"]["consistency"], found["knows"]["right-in-all-orders"]) == (1.0, 1.0)
    assert found["a"]["right-in-all-orders"] < 0.3 and found["a"]["consistency"] < 0.3
    assert found["a"]["accuracy"] == pytest.approx(0.25, abs=0.2)
    assert all(one.num_clusters == 8 for one in record.comparisons)
