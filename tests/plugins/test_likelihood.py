"""Choices scored by their likelihood: equal to lm-eval's own numbers, from checkpoints and from servers."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from infimed_core import Answer, LoadedModel, MediaLoader, Request, Sample
from infimed_core.records import open_run
from infimed_core.testing import check_benchmark, run
from infimed_plugins.endpoint.messages import Asking, make_body, read_reply
from infimed_plugins.endpoint.pictures import Pictures
from infimed_plugins.medevalkit.wrappers.likelihood import LikelihoodScored
from infimed_plugins.solvers.likelihood import Likelihood

sys.path.insert(0, str(Path(__file__).parent))

from lm_eval_both_ways import make_checkpoint

WORDS = ("liver", "a much longer name of a spleen", "kidney", "heart")


def own(tmp_path: Path, num: int = 12) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
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
    rows += [
        {"id": f"c{number}", "turns": [{"role": "user", "content": [f"Is {number} even?"]}, {"role": "assistant",
         "content": ["yes" if number % 2 == 0 else "no"]}]}
        for number in range(4)
    ]  # fmt: skip
    rows.append(
        {"id": "o", "turns": [{"role": "user", "content": ["Why?"]}, {"role": "assistant", "content": ["flu"]}]}
    )
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"use": "questions", "with": {"reader": {"use": "jsonl", "with": {"path": str(tmp_path / "q.jsonl")}}}}


def lm_evals(tmp_path: Path, checkpoint: Path, samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """What lm-eval makes of the same questions and choices: by question, likelihoods, ``acc`` and ``acc_norm``."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    docs = []
    for sample in samples:
        choices: Any = sample.meta["choices"]
        right = sample.references[0]
        gold = sample.options[ord(right) - ord("A")] if choices[0] in sample.options else right
        docs.append({"text": sample.turns[-1].text, "choices": choices, "gold": choices.index(gold)})
    folder = tmp_path / "tasks"
    folder.mkdir(exist_ok=True)
    (folder / "docs.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    (folder / "own.yaml").write_text(
        "task: own\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: " + str(folder / "docs.jsonl") + "\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: '{{text}}'\ndoc_to_choice: '{{choices}}'\n"
        "doc_to_target: gold\nmetric_list:\n  - metric: acc\n  - metric: acc_norm\n"
    )
    found: Any = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(checkpoint), "dtype": "float32", "device": "cpu"},
        tasks=["own"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        apply_chat_template=True,
        batch_size=1,
        bootstrap_iters=0,
    )
    rows = sorted(found["samples"]["own"], key=lambda row: row["doc_id"])
    return [
        {"found": [part[0] for part in row["filtered_resps"]], "acc": row["acc"], "acc_norm": row["acc_norm"]}
        for row in rows
    ]


@pytest.mark.slow
@pytest.mark.parametrize("choices", ["letters", "texts"])
def test_likelihoods_and_both_accuracies_are_those_of_lm_eval(tmp_path: Path, choices: str) -> None:
    checkpoint = make_checkpoint(tmp_path / "model", False)
    inner = own(tmp_path)
    document = {
        "run": {"name": "likely"},
        "model": {"use": "transformers", "with": {"checkpoint": str(checkpoint), "device": "cpu"}},
        "evaluation": {"benchmarks": [{"use": "likelihood", "with": {"benchmark": inner, "choices": choices}}]},
    }
    run(document, tmp_path)
    rows = list(open_run(tmp_path / "runs/likely").answers("likelihood", "base"))
    theirs = lm_evals(tmp_path, checkpoint, [row.sample for row in rows])
    assert len(rows) == len(theirs) == 16
    for row, other in zip(rows, theirs, strict=True):
        assert row.answer.log_likelihoods == pytest.approx(other["found"], abs=1e-4), row.sample.id
        assert row.scores["likelihood"].value == other["acc"], row.sample.id
        assert row.scores["likelihood-normalised"].value == other["acc_norm"], row.sample.id
    assert len({row.scores["likelihood"].value for row in rows}) == 2, "right and wrong ones, so that it says something"


def test_scoring_likelihood_is_a_result_of_its_own_beside_strict(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "model", True)
    inner = own(tmp_path, 8)
    document = {
        "run": {"name": "two"},
        "model": {"use": "transformers", "with": {"checkpoint": str(checkpoint), "device": "cpu"}},
        "evaluation": {
            "benchmarks": [{**inner, "generation": {"max_new_tokens": 1}}, {**inner, "scoring": "likelihood"}]
        },
    }
    record = run(document, tmp_path)
    whole = {(row.benchmark, row.scoring) for row in record.results if row.model == "base" and not row.group}
    assert whole == {
        ("questions", "strict"),
        ("questions-likelihood", "likelihood"),
        ("questions-likelihood", "likelihood-normalised"),
    }
    opened = open_run(tmp_path / "runs/two")
    for row in opened.answers("questions-likelihood", "base"):
        shares = [math.exp(value) for value in row.answer.log_likelihoods]
        assert row.answer.confidence == pytest.approx(max(shares) / sum(shares))
        assert row.scores["likelihood"].parts["confidence"] == row.answer.confidence
    step = opened.step("evaluate", benchmark="questions-likelihood", model="base")
    assert step is not None and step.dropped == {"no_choices": 1}, "the open question is left out and counted"
    letters = {row.sample.id: row.answer.text for row in opened.answers("questions", "base") if row.sample.options}
    likely = {row.sample.id: row.answer.text for row in opened.answers("questions-likelihood", "base")}
    assert {name: likely[name] for name in letters} == letters, "greedy decoding of one letter is the likeliest letter"


def test_every_choice_is_graded_by_the_benchmarks_own_rules(tmp_path: Path) -> None:
    component = LikelihoodScored.model_validate({"benchmark": own(tmp_path), "choices": "texts"})
    for sample in check_benchmark(component):
        choices: Any = sample.meta["choices"]
        for place, text in enumerate(choices):
            sure = tuple(-1.0 if other == place else -50.0 for other in range(len(choices)))
            score = component.grade(sample, Answer(sample_id=sample.id, text=text, log_likelihoods=sure), "likelihood")
            right = sample.options[ord(sample.references[0]) - 65] if sample.options else sample.references[0]
            assert score.value == float(text == right)


class Silent(LoadedModel):
    """Answers in words alone."""

    identity = "silent"

    def answer(self, requests: Sequence[Request], media: MediaLoader) -> Iterator[Answer]:
        for request in requests:
            yield Answer(sample_id=request.sample_id, text="A")


def test_a_model_that_cannot_tell_answers_with_an_error_and_not_with_a_guess(tmp_path: Path) -> None:
    samples = check_benchmark(LikelihoodScored.model_validate({"benchmark": own(tmp_path)}))

    def ask(requests: Sequence[Request], model: str | None = None) -> list[Answer]:
        return list(Silent().answer(requests, MediaLoader({})))

    answers = Likelihood().solve(samples, ask, None)
    assert all(answer.text is None and "logprobs" in (answer.error or "") for answer in answers)


def reply(listed: dict[str, float]) -> dict[str, Any]:
    tokens = [{"token": token, "logprob": value} for token, value in listed.items()]
    content = [{"token": "x", "logprob": -9.0, "top_logprobs": tokens}]
    return {"choices": [{"message": {"content": " "}, "finish_reason": "length", "logprobs": {"content": content}}]}


@pytest.mark.parametrize(
    ("listed", "wanted"),
    [
        ({"A": -0.5, "B": -1.5, "the": -3.0}, (-0.5, -1.5, -3.0)),  # a missing letter is less likely than all listed
        ({"A": -1.0, " A": -1.0, "B": -2.0, "C": -4.0}, (-1.0 + math.log(2), -2.0, -4.0)),
        ({"the": -0.1, "x": -3.0}, ()),  # none of them
        ({}, ()),
    ],
)
def test_a_servers_list_of_likely_tokens_is_read_and_never_guessed_from(
    listed: dict[str, float], wanted: tuple[float, ...]
) -> None:
    request = Request(sample_id="q", turns=(), continuations=("A", "B", "C"))
    assert read_reply(reply(listed), request).log_likelihoods == pytest.approx(wanted)


def test_a_choice_of_several_tokens_is_not_taken_for_its_first() -> None:
    request = Request(sample_id="q", turns=(), continuations=("yes", "no", "maybe"))
    assert read_reply(reply({"yes": -1.0, "may": -0.5}), request).log_likelihoods == ()
    assert read_reply(reply({"yes": -1.0, "no": -0.5, "other": -6.0}), request).log_likelihoods == (-1.0, -0.5, -6.0)


def test_a_server_is_asked_for_one_token_and_its_alternatives() -> None:
    request = Request(sample_id="q", turns=(), continuations=("A", "B"))
    body = make_body(request, "m", Asking(), Pictures(MediaLoader({}), None, "png"))
    assert (body["max_tokens"], body["logprobs"], body["top_logprobs"]) == (1, True, 20)
    assert "logprobs" not in make_body(
        Request(sample_id="q", turns=()), "m", Asking(), Pictures(MediaLoader({}), None, "png")
    )
