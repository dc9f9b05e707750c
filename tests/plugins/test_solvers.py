"""The promises of the solvers: order, cost, abstention, agreement, and that references are never shown."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infimed_core import Answer, ComponentRef, DataError, Generation, Media, Request, Sample, Turn, load_plugins
from infimed_core.testing import check_component, make_image
from infimed_plugins.solvers import infimed_solvers
from infimed_plugins.solvers.asking import alike, most_common, normalised, tagged
from infimed_plugins.solvers.chain_of_thought import ChainOfThought
from infimed_plugins.solvers.direct import Direct
from infimed_plugins.solvers.few_shot import FewShot
from infimed_plugins.solvers.panel import Panel
from infimed_plugins.solvers.vote import Vote

Reply = Callable[[Request], str | None]


class Asked:
    """A model made of a function; keeps every batch of requests. A ``None`` reply is a failed call."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.batches: list[list[Request]] = []
        self.models: list[str | None] = []

    def __call__(self, requests: Sequence[Request], model: str | None = None) -> list[Answer]:
        self.batches.append(list(requests))
        self.models.append(model)
        answers = []
        for request in requests:
            text = self.reply(request)
            error = "out of memory" if text is None else None
            answers.append(
                Answer(sample_id=request.sample_id, text=text, error=error, num_prompt_tokens=10, num_answer_tokens=2)
            )
        return answers


def sample(name: str) -> Sample:
    turns = (Turn(role="user", content=(0, f"Which plane is {name}?")),)
    return Sample(id=name, turns=turns, media=(Media(uri=f"/{name}.png"),), references=("SECRET",))


SAMPLES = [sample("one"), sample("two"), sample("three")]


def system_of(request: Request) -> str:
    return request.turns[0].text if request.turns[0].role == "system" else ""


def specialist(request: Request) -> str:
    for name in ("radiologist", "pathologist", "internist", "surgeon", "oncologist", "pharmacist", "chair"):
        if name in system_of(request):
            return name
    raise AssertionError(system_of(request))


def roles_file(tmp_path: Path, *names: str) -> Path:
    path = tmp_path / "roles.yaml"
    lines = "".join(f"  - {{name: {name}, prompt: 'You are the {name}.'}}\n" for name in names)
    path.write_text(f"specialists:\n{lines}chair: {{name: chair, prompt: You are the chair.}}\n")
    return path


def test_the_plugin_offers_its_solvers() -> None:
    assert set(infimed_solvers()) == {
        "direct", "chain-of-thought", "few-shot", "vote", "likelihood",
        "mdt-panel", "mdagents", "medagents", "reconcile",
    }  # fmt: skip


def test_direct_asks_everything_in_one_batch_and_keeps_the_order() -> None:
    asked = Asked(lambda request: request.sample_id)
    answers = Direct().solve(SAMPLES, asked, Generation(max_new_tokens=7))
    assert [answer.text for answer in answers] == ["one", "two", "three"]
    assert [request.turns for request in asked.batches[0]] == [one.turns for one in SAMPLES]
    assert asked.batches[0][0].generation.max_new_tokens == 7
    assert asked.batches[0][0].media == SAMPLES[0].media


def test_a_system_prompt_joins_the_one_a_sample_has() -> None:
    own = SAMPLES[0].model_copy(update={"turns": (Turn(role="system", content=("Be brief.",)), *SAMPLES[0].turns)})
    asked = Asked(lambda request: "x")
    Direct(system="You read images.").solve([own, SAMPLES[1]], asked, None)
    assert [system_of(request) for request in asked.batches[0]] == ["You read images.\n\nBe brief.", "You read images."]
    assert all([turn.role for turn in request.turns] == ["system", "user"] for request in asked.batches[0])


@pytest.mark.parametrize("solver", [Direct(), ChainOfThought(), Vote(num_samples=2), Panel()])
def test_no_solver_shows_the_reference_answer(solver: Direct) -> None:
    told = SAMPLES[0].model_copy(update={"turns": (*SAMPLES[0].turns, Turn(role="assistant", content=("SECRET",)))})
    asked = Asked(lambda request: "<answer>axial</answer>")
    solver.solve([told], asked, None)
    assert asked.batches
    assert all("SECRET" not in turn.text for batch in asked.batches for request in batch for turn in request.turns)


@pytest.mark.parametrize("solver", [Direct(), ChainOfThought(), Vote(), Panel()])
def test_no_questions_need_no_answers(solver: Direct) -> None:
    assert solver.solve([], Asked(lambda request: "x"), None) == []


def test_chain_of_thought_takes_the_tag_and_asks_again_only_where_there_is_none() -> None:
    def reply(request: Request) -> str | None:
        if len(request.turns) == 3:
            return "coronal"
        return {"one": "bright ventricles. <answer> axial </answer>", "two": "no tag here", "three": None}[
            request.sample_id
        ]

    asked = Asked(reply)
    answers = ChainOfThought().solve(SAMPLES, asked, Generation(max_new_tokens=8))
    assert [answer.text for answer in answers] == ["axial", "coronal", None]
    assert answers[2].error == "out of memory"
    assert [answer.num_calls for answer in answers] == [1, 2, 1]
    assert answers[1].num_prompt_tokens == 20 and answers[1].transcript[0]["text"] == "no tag here"
    assert [request.sample_id for request in asked.batches[1]] == ["two"]
    assert (asked.batches[0][0].generation.max_new_tokens, asked.batches[1][0].generation.max_new_tokens) == (512, 8)


def test_a_failed_second_call_loses_nothing_that_was_said() -> None:
    asked = Asked(lambda request: None if len(request.turns) == 3 else "it is axial")
    (answer,) = ChainOfThought().solve(SAMPLES[:1], asked, None)
    assert answer.text == "it is axial" and answer.transcript[1]["error"] == "out of memory"


def test_a_vote_draws_with_seeds_of_its_own_and_takes_the_majority() -> None:
    said = {"one": ["Axial.", "coronal", " axial"], "two": ["b", "a", None], "three": [None, None, None]}
    asked = Asked(lambda request: said[request.sample_id][request.generation.seed - 5])
    answers = Vote(num_samples=3).solve(SAMPLES, asked, Generation(seed=5))
    assert [answer.text for answer in answers] == ["Axial.", "b", None]
    assert answers[2].error is not None and "every draw failed" in answers[2].error
    assert len(asked.batches) == 1 and {request.generation.temperature for request in asked.batches[0]} == {0.7}
    assert all(answer.num_calls == 3 and answer.num_prompt_tokens == 30 for answer in answers)


def test_a_panel_that_agrees_stops_early_without_the_chair() -> None:
    asked = Asked(
        lambda request: f"I see it. <answer>{'Axial.' if specialist(request) == 'surgeon' else 'axial'}</answer>"
    )
    answers = Panel(rounds=3).solve(SAMPLES, asked, None)
    assert [answer.text for answer in answers] == ["axial"] * 3
    assert [len(batch) for batch in asked.batches] == [18]
    assert all(answer.num_calls == 6 and answer.num_answer_tokens == 12 for answer in answers)
    assert answers[0].transcript[-1] == {"role": "agreement", "round": 0, "text": "axial", "votes": 6}


def test_only_cases_in_dispute_are_revised_and_reach_the_chair(tmp_path: Path) -> None:
    def reply(request: Request) -> str | None:
        who = system_of(request).split()[-1].rstrip(".")
        if who == "chair":
            return "sagittal"
        return f"<answer>{'axial' if request.sample_id == 'one' else who}</answer>"

    asked = Asked(reply)
    panel = Panel(roles=roles_file(tmp_path, "reader", "knife"), rounds=1)
    answers = panel.solve(SAMPLES[:2], asked, None)
    assert [answer.text for answer in answers] == ["axial", "sagittal"]
    assert [answer.num_calls for answer in answers] == [2, 5]
    assert [len(batch) for batch in asked.batches] == [4, 2, 1]
    revision = asked.batches[1][0].turns[-1].text
    assert "reader (you): <answer>reader</answer>" in revision and "knife: <answer>knife</answer>" in revision
    assert [entry["role"] for entry in answers[1].transcript] == ["reader", "knife", "reader", "knife", "chair"]


@pytest.mark.parametrize(("order", "sees"), [("independent", False), ("in-turn", True)])
def test_order_decides_who_sees_whom(tmp_path: Path, order: str, sees: bool) -> None:
    asked = Asked(lambda request: f"said by {system_of(request)}")
    panel = Panel.model_validate({"roles": roles_file(tmp_path, "reader", "knife"), "rounds": 0, "order": order})
    panel.solve(SAMPLES[:1], asked, None)
    second = [request for batch in asked.batches for request in batch][1]
    assert ("said by You are the reader." in second.turns[-1].text) is sees


def test_a_specialist_whose_call_fails_abstains_and_is_no_agreement(tmp_path: Path) -> None:
    def reply(request: Request) -> str | None:
        who = system_of(request)
        return None if "knife" in who else "chair says coronal" if "chair" in who else "<answer>axial</answer>"

    (answer,) = Panel(roles=roles_file(tmp_path, "reader", "knife"), rounds=0).solve(SAMPLES[:1], Asked(reply), None)
    assert answer.text == "chair says coronal"
    turn = answer.transcript[1]
    assert (turn["role"], turn["text"], turn["error"]) == ("knife", "(abstained)", "out of memory")


def test_a_panel_falls_back_on_its_majority_where_the_chair_fails_and_errs_where_all_do(tmp_path: Path) -> None:
    roles = roles_file(tmp_path, "reader", "knife", "lens")

    def no_chair(request: Request) -> str | None:
        return None if "chair" in system_of(request) else "axial" if "knife" not in system_of(request) else "coronal"

    (answer,) = Panel(roles=roles, rounds=0).solve(SAMPLES[:1], Asked(no_chair), None)
    assert (answer.text, answer.transcript[-1]["role"]) == ("axial", "majority")
    (answer,) = Panel(roles=roles, rounds=0).solve(SAMPLES[:1], Asked(lambda request: None), None)
    assert answer.text is None and answer.error == "every specialist abstained: out of memory"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("specialists: [", ":1: not YAML"),
        ("specialists: []\nchair: {name: a, prompt: b}", "specialists"),
        ("specialists: [{name: a}]\nchair: {name: a, prompt: b}", "specialists.0.prompt"),
        (
            "specialists: [{name: a, prompt: b}, {name: a, prompt: c}]\nchair: {name: a, prompt: b}",
            "'a' is named twice",
        ),
    ],
)
def test_a_bad_roles_file_is_told_with_its_place(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "roles.yaml"
    path.write_text(content)
    with pytest.raises(ValidationError, match=r"roles\.yaml") as caught:
        Panel(roles=path)
    (problem,) = caught.value.errors()
    assert told in problem["msg"] and "\n" not in problem["msg"]


def test_a_missing_roles_file_and_an_unknown_specialist_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="no such roles file"):
        Panel(roles=tmp_path / "none.yaml")
    with pytest.raises(ValidationError, match="no specialist 'magic'"):
        Panel(specialists=("magic",))
    with pytest.raises(ValidationError, match="no role 'magic'"):
        Panel(role_models={"magic": "large"})


def test_an_edited_roles_file_is_another_solver(tmp_path: Path) -> None:
    before = Panel(roles=roles_file(tmp_path, "reader")).identity()
    after = Panel(roles=roles_file(tmp_path, "reader", "knife")).identity()
    assert before != after


@given(st.lists(st.text(alphabet="bcdxyz", min_size=1), min_size=1), st.sampled_from(["", ".", "!", '"', " ."]))
def test_case_spacing_and_outer_punctuation_do_not_split_a_vote(words: list[str], outer: str) -> None:
    plain = " ".join(words)
    assert normalised(outer + "  ".join(words).upper() + outer) == normalised(plain) == plain


def test_roles_are_asked_of_the_models_they_name_and_the_transcript_says_which(tmp_path: Path) -> None:
    path = tmp_path / "roles.yaml"
    path.write_text(
        "specialists:\n  - {name: reader, prompt: You are the reader., model: small}\n"
        "  - {name: knife, prompt: You are the knife.}\n  - {name: lens, prompt: You are the lens., model: small}\n"
        "chair: {name: chair, prompt: You are the chair., model: large}\n"
    )
    panel = Panel(roles=path, rounds=0, role_models={"lens": "large"})
    assert panel.models() == ("small", "large")
    asked = Asked(lambda request: system_of(request).split()[-1])
    (answer,) = panel.solve(SAMPLES[:1], asked, None)
    assert asked.models == ["small", None, "large", "large"]
    assert [(turn["role"], turn.get("model")) for turn in answer.transcript] == [
        ("reader", "small"), ("knife", None), ("lens", "large"), ("chair", "large"),
    ]  # fmt: skip
    assert [turn["num_prompt_tokens"] for turn in answer.transcript] == [10] * 4
    assert (answer.num_calls, answer.num_prompt_tokens, answer.num_answer_tokens) == (4, 40, 8)


def test_the_order_of_the_panel_does_not_depend_on_which_model_is_asked_first(tmp_path: Path) -> None:
    roles = roles_file(tmp_path, "reader", "knife", "lens")
    asked = Asked(lambda request: system_of(request))
    panel = Panel(roles=roles, rounds=1, role_models={"knife": "other"})
    (answer,) = panel.solve(SAMPLES[:1], asked, None)
    assert [turn["role"] for turn in answer.transcript[:6]] == ["reader", "knife", "lens"] * 2
    shown = asked.batches[-1][0].turns[-1].text
    assert shown.index("reader:") < shown.index("knife:") < shown.index("lens:")


def test_conclusions_in_other_words_agree_where_likeness_allows_it(tmp_path: Path) -> None:
    said = {
        "reader.": "<answer>acute pulmonary embolism</answer>",
        "knife.": "<answer>pulmonary embolism</answer>",
        "chair.": "nothing",
    }
    asked = Asked(lambda request: said[system_of(request).split()[-1]])
    roles = roles_file(tmp_path, "reader", "knife")
    (strict,) = Panel(roles=roles, rounds=0).solve(SAMPLES[:1], asked, None)
    (lenient,) = Panel(roles=roles, rounds=0, likeness=0.75).solve(SAMPLES[:1], asked, None)
    assert (strict.text, strict.num_calls) == ("nothing", 3)
    assert (lenient.text, lenient.num_calls) == ("acute pulmonary embolism", 2)


def test_silence_is_an_abstention_and_not_an_agreement(tmp_path: Path) -> None:
    quiet = Asked(lambda request: "the chair decides" if "chair" in system_of(request) else "  ")
    roles = roles_file(tmp_path, "reader", "knife")
    (answer,) = Panel(roles=roles, rounds=0).solve(SAMPLES[:1], quiet, None)
    assert (answer.text, answer.error) == ("", None)
    assert [turn["error"] for turn in answer.transcript] == ["the reply was empty"] * 2
    half = Asked(lambda request: "axial" if request.generation.seed == 4 else "")
    (answer,) = Vote(num_samples=5).solve(SAMPLES[:1], half, None)
    assert answer.text == "axial" and answer.transcript[-1]["votes"] == 1
    (answer,) = Vote(num_samples=5).solve(SAMPLES[:1], Asked(lambda request: ""), None)
    assert (answer.text, answer.error) == ("", None)


def test_a_vote_stops_at_its_token_budget_and_never_before_the_first_draw() -> None:
    asked = Asked(lambda request: "axial")
    for budget, draws in ((1, 1), (12, 1), (24, 2), (47, 3), (10_000, 9)):
        (answer,) = Vote(num_samples=9, token_budget=budget).solve(SAMPLES[:1], asked, None)
        assert answer.num_calls == draws, budget
    seeds = {request.generation.seed for batch in asked.batches[-9:] for request in batch}
    assert len(seeds) == 9


def test_a_vote_over_free_texts_gives_the_one_in_their_midst() -> None:
    texts = ["start heparin today", "give heparin and oxygen today", "operate at once"]
    asked = Asked(lambda request: texts[request.generation.seed])
    (answer,) = Vote(num_samples=3).solve(SAMPLES[:1], asked, None)
    assert answer.text == "start heparin today"


@given(st.lists(st.text(alphabet="ab no", max_size=8), min_size=1, max_size=6), st.sampled_from([0.5, 0.8, 1.0]))
def test_the_most_common_text_is_one_of_the_texts_with_its_true_count(texts: list[str], likeness: float) -> None:
    found = most_common(texts, likeness)
    assert found is not None
    text, votes = found
    assert text in texts and 1 <= votes <= len(texts)
    if likeness == 1.0:
        assert votes == max(sum(normalised(a) == normalised(b) for b in texts) for a in texts)


@given(st.text(alphabet="ab c", max_size=12), st.text(alphabet="ab c", max_size=12))
def test_likeness_is_symmetric_and_a_denial_is_never_like_its_statement(one: str, other: str) -> None:
    assert alike(one, other) == alike(other, one) <= 1.0
    assert alike(one, one) == 1.0
    assert alike(one, f"no {one}") == 0.0


@given(st.text(alphabet="ab <>/", max_size=30), st.text(alphabet="ab", min_size=1, max_size=10))
def test_the_last_tag_is_the_answer(before: str, inner: str) -> None:
    assert tagged(f"{before}<answer>{inner}</answer> and on", "answer") == inner
    assert tagged(f"{before}<answer>{inner}", "answer") == inner


def write_split(folder: Path, name: str, *rows: tuple[str, str, str]) -> dict[str, Any]:
    """A set of (id, question, answer), each about an image of its own, and the benchmark that reads it."""
    lines = []
    for identity, question, answer in rows:
        (folder / f"{identity}.png").write_bytes(make_image(seed=len(identity)))
        said = {"role": "assistant", "content": [answer]}
        turns = [{"role": "user", "content": [0, question]}, said]
        lines.append({"id": identity, "turns": turns, "media": [{"uri": str(folder / f"{identity}.png")}]})
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    reader = {"use": "jsonl", "with": {"path": str(folder / f"{name}.jsonl")}}
    return {"use": "questions", "with": {"reader": reader}}


def test_examples_go_before_the_question_and_no_graded_question_is_one(tmp_path: Path) -> None:
    graded = [("g1", "Is there an effusion?", "yes"), ("g2", "Is it a nodule?", "no")]
    pool = [("t1", "Is it new?", "no"), ("t2", "Is it old?", "yes"), ("t3", "Both?", "yes"), graded[1]]
    examples = write_split(tmp_path, "train", *pool)
    own: Any = load_plugins().make("benchmark", "questions", write_split(tmp_path, "test", *graded)["with"])
    samples = [row for row in own.samples() if isinstance(row, Sample)]
    asked: list[Request] = []

    def ask(requests: Sequence[Request], model: str | None = None) -> list[Answer]:
        asked.extend(requests)
        return [Answer(sample_id=request.sample_id, text="yes") for request in requests]

    solver = check_component(FewShot(shots=3, seed=4, examples=ComponentRef.model_validate(examples)))
    answers = solver.solve(samples, ask, Generation())
    first, second = asked
    assert [turn.role for turn in first.turns] == ["user", "assistant"] * 3 + ["user"]
    assert {turn.text for turn in first.turns[1:-1:2]} == {"yes", "no"} and "Is it a nodule?" not in str(
        first.turns[:-1]
    )
    assert [len(one.media) for one in asked] == [4, 4] and first.media[:3] == second.media[:3]
    for number, turn in enumerate(first.turns[::2]):
        assert turn.media_indices == (number,), "every turn shows its own image"
    assert first.media[3].uri == str(tmp_path / "g1.png")
    assert sorted(str(answers[0].transcript[0]["content"]).split(", ")) == ["t1", "t2", "t3"]
    assert solver.chosen(samples) == solver.chosen(samples)
    with pytest.raises(DataError, match="wants 4 examples, and 'questions' has 3 that are not graded"):
        FewShot(shots=4, examples=ComponentRef.model_validate(examples)).chosen(samples)


def test_examples_go_before_choices_whose_likelihood_is_asked_for(tmp_path: Path) -> None:
    pool = [("t1", "Is it new?", "A"), ("t2", "Is it old?", "B")]
    examples = write_split(tmp_path, "train", *pool)
    options = ("left", "right")
    graded = sample("g1").model_copy(update={"options": options, "meta": {"choices": ["A", "B"]}})
    asked: list[Request] = []

    def ask(requests: Sequence[Request], model: str | None = None) -> list[Answer]:
        asked.extend(requests)
        return [Answer(sample_id=one.sample_id, text="A", log_likelihoods=(-2.0, -0.5)) for one in requests]

    solver = FewShot(shots=2, examples=ComponentRef.model_validate(examples))
    (answer,) = solver.solve([graded], ask, Generation(max_new_tokens=50))
    assert asked[0].continuations == ("A", "B") and asked[0].generation.max_new_tokens == 1
    assert answer.text == "B" and answer.confidence == pytest.approx(1 / (1 + math.exp(-1.5)))
    assert answer.transcript[0]["role"] == "examples" and len(asked[0].turns) == 5
    silent = solver.solve([graded], lambda requests, model=None: [Answer(sample_id="g1", text="B")], Generation())
    assert silent[0].error is not None and silent[0].error.startswith("no_log_likelihoods")
