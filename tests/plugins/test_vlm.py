"""What the models promise: made from a seed, opened by stock transformers, answers that do not depend on the batch."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
import safetensors.numpy
import torch
import transformers

from infimed_core import DataError, Generation, Media, Request, Sample, Turn, assemble
from infimed_plugins.vlm.answering import generate
from infimed_plugins.vlm.assemble import Assemble
from infimed_plugins.vlm.baselines import Constant, Random
from infimed_plugins.vlm.checkpoint import Transformers
from infimed_plugins.vlm.diagnosis import diagnose as doctor
from infimed_plugins.vlm.tiny import TinyQwen3VL
from infimed_plugins.vlm.without_progress_bars import without_progress_bars

TEXTS = ["Which imaging plane is shown in this picture?", "axial coronal sagittal", "Is this the left lung? yes no"] * 5
SMALL = {"hidden_size": 64, "layers": 2, "intermediate_size": 96, "vision_layers": 2, "vision_hidden_size": 64}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> TinyQwen3VL:
    return TinyQwen3VL(**SMALL, vocab_size=400, answer_max_visual_tokens=9, device="cpu")


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    """The tiny checkpoint with weights large enough that it says different things to different questions."""
    directory = model.prepare(tmp_path_factory.mktemp("tiny"), lambda: TEXTS, 0)
    network = model.load(directory)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in network.module.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    network.save(directory)
    return directory


class Pictures:
    """A media loader: the uri is the seed of a picture."""

    def probe(self, media: Media) -> tuple[int, int]:
        return 40 + 16 * int(media.uri), 70

    def load(self, media: Media, at_most=None) -> np.ndarray:
        if media.uri == "6":
            raise DataError("truncated", "picture 6 is truncated")
        shape = (*self.probe(media), 3)
        return np.random.default_rng(int(media.uri)).integers(0, 256, shape, dtype=np.uint8)


def requests(count: int, generation: Generation | None = None) -> list[Request]:
    asked = []
    for number in range(count):
        pictures = number % 3
        content = (*range(pictures), "Which imaging plane is shown?" + " yes no" * (number % 5))
        media = tuple(Media(uri=str((number + i) % 6)) for i in range(pictures))
        asked.append(
            Request(
                sample_id=f"q{number}",
                turns=(Turn(role="user", content=content),),
                media=media,
                generation=generation or Generation(max_new_tokens=6),
            )
        )
    return asked


def weights(directory) -> bytes:
    return (directory / "model.safetensors").read_bytes()


def test_the_same_seed_gives_the_same_checkpoint_and_another_seed_another(model, tmp_path):
    one, two, three = (
        model.prepare(tmp_path / name, lambda: TEXTS, seed) for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert weights(one) == weights(two) != weights(three)
    assert (one / "tokenizer.json").read_bytes() == (two / "tokenizer.json").read_bytes()


def test_the_default_has_about_three_million_parameters(tmp_path):
    network = TinyQwen3VL(device="cpu").load(TinyQwen3VL().prepare(tmp_path, lambda: TEXTS, 0))
    facts = network.describe()
    assert 2.5e6 < facts["parameters"] < 3.5e6 and facts["packable"] and facts["architecture"].startswith("Qwen3VL")
    json.dumps(facts)


def test_stock_transformers_opens_a_saved_checkpoint_and_computes_the_same(model, checkpoint, tmp_path):
    network = model.load(checkpoint)
    network.save(tmp_path / "saved")
    with without_progress_bars():
        stock = transformers.AutoModelForImageTextToText.from_pretrained(tmp_path / "saved", dtype="float32").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "saved")
    assert "infimed" not in (tmp_path / "saved" / "config.json").read_text()
    image = Pictures().load(Media(uri="1"))
    turns = (Turn(role="user", content=(0, "Which plane?")), Turn(role="assistant", content=("axial",)))
    encoded = network.encoder.encode(Sample(id="s", turns=turns, media=(Media(uri="1"),)), [image], None)
    pictured = processor([image], return_tensors="pt")
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Which plane?"}]},
        {"role": "assistant", "content": "axial"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    num_tokens = int(pictured["image_grid_thw"].prod()) // 4
    ids = tokenizer(text.replace("<|image_pad|>", "<|image_pad|>" * num_tokens), return_tensors="pt")["input_ids"]
    assert ids[0].tolist() == encoded.input_ids.tolist()
    types = torch.from_numpy(encoded.token_types)[None]
    with torch.no_grad():
        theirs = stock(input_ids=ids, mm_token_type_ids=types, use_cache=False, **pictured).logits[0]
        ours = network.output_embedding()(network.hidden_states(assemble([encoded])))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_saving_keeps_everything_and_the_identity_follows_the_weights(model, checkpoint, tmp_path):
    network = model.load(checkpoint)
    before = network.identity
    network.save(tmp_path / "same")
    reopened = model.load(tmp_path / "same")
    assert reopened.identity == before == network.identity
    assert reopened.encoder.identity == network.encoder.identity
    with torch.no_grad():
        next(network.module.parameters()).add_(1e-3)
    assert network.identity != before
    capped = TinyQwen3VL(**model.model_dump() | {"answer_max_visual_tokens": 4}).load(checkpoint)
    assert capped.identity != before


def test_every_parameter_is_in_one_group_and_the_mergers_are_the_projector(model, checkpoint):
    network = model.load(checkpoint)
    groups = network.parameter_groups()
    names = [name for group in groups.values() for name in group]
    assert sorted(names) == sorted(name for name, _ in network.module.named_parameters())
    assert all("merger" in name for name in groups["projector"])
    assert any("deepstack_merger_list" in name for name in groups["projector"])
    assert groups["embeddings"] == ["model.language_model.embed_tokens.weight"]
    assert all(groups.values())


def test_answers_of_a_batch_equal_answers_one_by_one(model, checkpoint):
    network = model.load(checkpoint)
    asked = requests(14)
    together = {answer.sample_id: answer for answer in network.answer(asked, Pictures())}
    alone = {a.sample_id: a for request in asked for a in network.answer([request], Pictures())}
    assert together == alone and len(together) == 14
    assert len({answer.text for answer in together.values()}) > 5  # it does look at what it is asked
    assert all(answer.error is None and answer.num_answer_tokens <= 6 for answer in together.values())


def test_sampled_answers_depend_on_the_seed_and_not_on_the_batch(model, checkpoint):
    network = model.load(checkpoint)

    def texts(seed, *parts):
        generation = Generation(max_new_tokens=5, temperature=0.9, top_p=0.9, seed=seed)
        asked = requests(6, generation)
        return {a.sample_id: a.text for part in parts for a in network.answer(asked[part], Pictures())}

    whole = texts(0, slice(0, 6))
    assert whole == texts(0, slice(0, 2), slice(2, 6)) != texts(1, slice(0, 6))


def test_training_rows_and_answers_do_not_disturb_each_other(model, checkpoint):
    network = model.load(checkpoint)
    turns = (Turn(role="user", content=(0, "Which plane?")), Turn(role="assistant", content=("axial",)))
    sample = Sample(id="s", turns=turns, media=(Media(uri="1"),))
    row = assemble([network.encoder.encode(sample, [Pictures().load(Media(uri="1"))], 9)] * 3)
    network.module.train()
    before = network.hidden_states(row).detach()
    list(network.answer(requests(4), Pictures()))
    assert network.module.training
    assert torch.equal(network.hidden_states(row).detach(), before)


def test_a_question_that_cannot_be_asked_is_an_answer_that_says_why(model, checkpoint):
    network = model.load(checkpoint)
    good = requests(3)
    broken = good[1].model_copy(update={"sample_id": "broken", "media": (Media(uri="6"),)})
    missing = good[1].model_copy(update={"sample_id": "missing", "media": ()})
    endless = good[0].model_copy(update={"sample_id": "endless", "generation": Generation(max_new_tokens=9000)})
    answers = {answer.sample_id: answer for answer in network.answer([*good, broken, missing, endless], Pictures())}
    assert len(answers) == 6 and all(answers[request.sample_id].text is not None for request in good)
    for name, code in (("broken", "truncated"), ("missing", "missing_media"), ("endless", "too_long")):
        assert answers[name].text is None and answers[name].error.startswith(code)


def test_a_stop_text_ends_the_answer(model, checkpoint):
    network = model.load(checkpoint)
    whole = next(network.answer(requests(1, Generation(max_new_tokens=8)), Pictures())).text
    stop = whole[3:5]
    cut = next(network.answer(requests(1, Generation(max_new_tokens=8, stop=(stop,))), Pictures())).text
    assert cut == whole.split(stop)[0].strip()


def test_a_failing_batch_costs_only_the_question_that_fails(model, checkpoint, monkeypatch):
    from infimed_plugins.vlm import answering

    def fragile(network, prompts, generation):
        if any(prompt.sample_id == "q2" for prompt in prompts):
            raise RuntimeError("kernel failed")
        return generate(network, prompts, generation)

    monkeypatch.setattr(answering, "generate", fragile)
    answers = {answer.sample_id: answer for answer in model.load(checkpoint).answer(requests(4), Pictures())}
    assert answers["q2"].error == "RuntimeError: kernel failed"
    assert all(answers[f"q{i}"].error is None for i in (0, 1, 3))


def test_transformers_opens_the_same_checkpoint_and_a_text_model(model, checkpoint, tmp_path):
    opened = Transformers(checkpoint=str(checkpoint), answer_max_visual_tokens=9, device="cpu")
    assert opened.prepare(tmp_path, list, 0) == checkpoint.resolve()
    asked = requests(3)
    ours = [answer.text for answer in model.load(checkpoint).answer(asked, Pictures())]
    assert [answer.text for answer in opened.load(None).answer(asked, Pictures())] == ours

    text = make_text_model(checkpoint, tmp_path / "text")
    network = Transformers(checkpoint=str(text), device="cpu").load(text)
    answers = list(network.answer(requests(2), Pictures()))
    assert [answer.sample_id for answer in answers if answer.error] == ["q1"]
    assert "takes text alone" in next(answer.error for answer in answers if answer.error)
    sample = Sample(id="s", turns=(Turn(role="user", content=("Hi",)), Turn(role="assistant", content=("yes",))))
    encoded = network.encoder.encode(sample, [], None)
    assert encoded.positions.shape == (1, len(encoded))
    assert network.hidden_states(assemble([encoded] * 2)).shape == (2 * len(encoded), 64)
    assert network.parameter_groups()["vision"] == [] and network.can_pack()[0]


def test_an_unknown_family_of_text_runs_each_sample_alone(checkpoint, tmp_path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=1
    )
    with without_progress_bars():
        transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    network = Transformers(checkpoint=str(tmp_path), device="cpu").load(tmp_path)
    packable, reason = network.can_pack()
    assert not packable and "gpt2" in reason
    sample = Sample(id="s", turns=(Turn(role="user", content=("Hi",)), Turn(role="assistant", content=("yes",))))
    encoded = network.encoder.encode(sample, [], None)
    both = network.hidden_states(assemble([encoded] * 2))
    assert torch.equal(both[: len(encoded)], both[len(encoded) :])
    assert next(network.answer(requests(1), Pictures())).error is None


def test_a_family_whose_images_are_not_known_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "gemma3", "vision_config": {"model_type": "siglip"}})
    )
    with pytest.raises(DataError, match=r"images for 'gemma3' are not supported \(known: qwen2_vl"):
        Transformers(checkpoint=str(tmp_path)).encoder(tmp_path)


def make_text_model(checkpoint, directory):
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    config = transformers.Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with without_progress_bars():
        transformers.Qwen3ForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def parts(checkpoint, tmp_path_factory):
    """A tiny SigLIP and a tiny Qwen3, as two checkpoints."""
    directory = tmp_path_factory.mktemp("parts")
    config = transformers.SiglipVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2, image_size=48, patch_size=8
    )
    with without_progress_bars():
        transformers.SiglipVisionModel(config).save_pretrained(directory / "siglip")
    transformers.SiglipImageProcessorPil(size={"height": 48, "width": 48}).save_pretrained(directory / "siglip")
    return directory / "siglip", make_text_model(checkpoint, directory / "qwen3")


def test_a_model_assembled_from_parts_trains_answers_and_reloads(parts, tmp_path):
    vision, language = (str(path) for path in parts)
    model = Assemble(vision=vision, language=language, projector={"pool": [4, 4]}, device="cpu")
    base = model.prepare(tmp_path / "base", lambda: TEXTS, 0)
    network = model.load(base)
    tower = safetensors.numpy.load_file(parts[0] / "model.safetensors")
    name = "embeddings.patch_embedding.weight"
    stored = next(value for key, value in tower.items() if key.endswith(name))
    state = network.module.state_dict()
    assert (state[f"model.vision_tower.{name}"].numpy() == stored).all()
    assert network.can_pack()[0] and all(network.parameter_groups().values())

    turns = (Turn(role="user", content=(0, "Which plane?", 1)), Turn(role="assistant", content=("axial",)))
    sample = Sample(id="s", turns=turns, media=(Media(uri="1"), Media(uri="2")))
    images = [Pictures().load(media) for media in sample.media]
    real = transformers.SiglipImageProcessorPil.from_pretrained(parts[0])(images, return_tensors="np")["pixel_values"]
    for cap, count in ((None, 16), (9, 9), (7, 4), (1, 1)):
        encoded = network.encoder.encode(sample, images, cap)
        visual, patches = network.encoder.visual_sizes(np.array([5, 900]), np.array([7, 100]), cap)
        assert encoded.visual_tokens == (count, count) == tuple(visual) and patches.tolist() == [36, 36]
        np.testing.assert_array_equal(encoded.vision["pixel_values"], real)
        alone = network.hidden_states(assemble([encoded]))
        mixed = network.hidden_states(assemble([encoded, network.encoder.encode(sample, images, 4)]))
        torch.testing.assert_close(mixed[: len(encoded)], alone, rtol=1e-4, atol=1e-5)

    asked = requests(7)
    answers = {answer.sample_id: answer for answer in network.answer(asked, Pictures())}
    assert all(answer.error is None for answer in answers.values())
    assert answers == {a.sample_id: a for request in asked for a in network.answer([request], Pictures())}
    network.save(tmp_path / "saved")
    reopened = Transformers(checkpoint=str(tmp_path / "saved"), device="cpu").load(tmp_path / "saved")
    assert {answer.sample_id: answer for answer in reopened.answer(asked, Pictures())} == answers
    with without_progress_bars():
        stock = transformers.AutoModelForImageTextToText.from_pretrained(tmp_path / "saved")
    assert type(stock).__name__ == "LlavaForConditionalGeneration"
    for place in (base, tmp_path / "saved"):  # as published checkpoints name them, which servers look for
        names = [name for name in safetensors.numpy.load_file(place / "model.safetensors") if "vision_tower" in name]
        assert names and all("vision_tower.vision_model." in name for name in names)
    with pytest.raises(DataError, match="is no SigLIP model"):
        Assemble(vision=language, language=language).prepare(tmp_path / "wrong", list, 0)


def test_a_place_that_holds_no_checkpoint_is_told(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"holds no config\.json"):
        Transformers(checkpoint=str(tmp_path)).prepare(tmp_path, list, 0)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match="no such directory"):
        Transformers(checkpoint=str(tmp_path / "nowhere")).prepare(tmp_path, list, 0)


def test_pickled_weights_are_not_opened(checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "old")
    (tmp_path / "old" / "model.safetensors").unlink()
    (tmp_path / "old" / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(DataError, match="holds no weights in safetensors"):
        Transformers(checkpoint=str(tmp_path / "old"), device="cpu").load(tmp_path / "old")


def test_the_doctor_reads_a_configuration_and_gives_its_verdict(checkpoint):
    facts = doctor(str(checkpoint))
    assert facts["model_type"] == "qwen3_vl" and facts["packable"] and facts["logits_difference"] <= 1e-5


def test_the_constant_says_the_same_and_the_random_a_letter_that_is_offered():
    question = "Which plane?\nA. axial\nB. coronal\nC. sagittal\nAnswer with the letter."
    asked = [Request(sample_id=f"{number}", turns=(Turn(role="user", content=(question,)),)) for number in range(60)]
    assert {answer.text for answer in Constant(text="no").load(None).answer(asked, Pictures())} == {"no"}
    drawn = [answer.text for answer in Random().load(None).answer(asked, Pictures())]
    assert set(drawn) == {"A", "B", "C"}
    assert drawn[5:] == [answer.text for answer in Random().load(None).answer(asked[5:], Pictures())]
    assert drawn != [answer.text for answer in Random(seed=1).load(None).answer(asked, Pictures())]
    open_question = Request(sample_id="o", turns=(Turn(role="user", content=("Is it axial?",)),))
    assert next(Random().load(None).answer([open_question], Pictures())).text in ("yes", "no")
    assert not Constant.trainable and not Random.trainable
    assert Constant(text="a").load(None).identity != Constant(text="b").load(None).identity
