"""Kept adapters: stock PEFT loads them, merged, beside and reloaded give the same, and they can be trained further."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

pytest.importorskip("peft", reason="needs the extra lora")
sys.path.insert(0, str(Path(__file__).parent))
from sft_real_model import Rows, make_sample, make_source

from infimed_core import DataError, InfimedError, Request, TrainingContext
from infimed_plugins.sft.adapters import merged
from infimed_plugins.sft.stages import TrainingStage
from infimed_plugins.sft.trainer import StagedTrainer
from infimed_plugins.vlm.checkpoint import Transformers
from infimed_plugins.vlm.finding import base_of, is_adapter


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("model"))


def train(model, rows, directory, name="one", events=lambda kind, payload: None, **settings):
    lora = {"rank": 4, "merge": False, **settings.pop("lora", {})}
    trainer = StagedTrainer(stages=({"name": name, "learning_rate": 3e-2, "lora": lora, **settings},))
    context = TrainingContext(directory=directory, seed=3, emit=events)
    return trainer.train(model, rows, trainer.stages[0], context)


pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.newest,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),  # within peft
]


KINDS = {
    "lora": {},
    "dora": {"dora": True},
    "rslora-of-two-names": {"rank_stabilised": True, "targets": ["q_proj", "v_proj"]},
    "tower-and-projector": {"groups": ["vision", "projector", "language"]},
}


def request_of(sample):
    return Request(sample_id=sample.id, turns=sample.turns[:1])


@pytest.mark.parametrize("kind", KINDS)
def test_beside_merged_reloaded_and_stock_peft_agree(source, tmp_path, kind):
    from peft import PeftModel
    from transformers import Qwen3VLForConditionalGeneration

    model, checkpoint = source
    network = model.load(checkpoint)
    rows = Rows(network.encoder)
    row = rows.row(0, 0)
    plain = network.hidden_states(row).detach()
    train(network, rows, tmp_path / "state", lora=KINDS[kind])
    beside = network.hidden_states(row).detach()
    assert (beside - plain).abs().max() > 1e-2
    with merged(network):
        torch.testing.assert_close(network.hidden_states(row).detach(), beside, rtol=0, atol=1e-5)
    assert torch.equal(network.hidden_states(row).detach(), beside)
    saved = tmp_path / "saved"
    network.save(saved)
    names = {path.name for path in saved.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert "config.json" not in names and not list(saved.glob("model*.safetensors"))
    again = model.load(saved)
    assert torch.equal(again.hidden_states(row).detach(), beside)
    stock = Qwen3VLForConditionalGeneration.from_pretrained(checkpoint, attn_implementation="sdpa")
    stock = PeftModel.from_pretrained(stock, saved)
    ids = torch.from_numpy(rows._encode(make_sample(0)).input_ids)[None]
    one = stock(input_ids=ids, use_cache=False).logits[0]
    logits = again.output_embedding()(again.hidden_states(rows_of_one(rows, 0)))
    torch.testing.assert_close(logits.detach(), one.detach(), rtol=0, atol=1e-5)
    whole = stock.merge_and_unload()(input_ids=ids, use_cache=False).logits[0]
    torch.testing.assert_close(logits.detach(), whole.detach(), rtol=0, atol=1e-5)


def rows_of_one(rows, index):
    from infimed_core import assemble

    return assemble([rows._encode(make_sample(index))])


def test_answers_of_the_reloaded_adapter_are_those_in_memory(source, tmp_path):
    model, checkpoint = source
    network = model.load(checkpoint)
    train(network, Rows(network.encoder), tmp_path / "state")
    network.save(tmp_path / "saved")
    requests = [request_of(make_sample(index)) for index in (0, 3, 6)]
    said = [answer.text for answer in network.answer(requests, None)]
    opened = Transformers(checkpoint=str(tmp_path / "saved"), dtype="float32", answer_max_visual_tokens=36).load(None)
    assert [answer.text for answer in opened.answer(requests, None)] == said
    assert opened.describe()["adapter"]["rank"] == 4
    assert opened.identity == model.load(tmp_path / "saved").identity != model.load(checkpoint).identity


def test_a_second_stage_goes_on_with_the_adapter_of_the_first_or_merges_it(source, tmp_path):
    model, checkpoint = source
    network = model.load(checkpoint)
    rows = Rows(network.encoder)
    train(network, rows, tmp_path / "one")
    network.save(tmp_path / "first")
    reopened = model.load(tmp_path / "first")
    for number, opened in enumerate((network, reopened)):
        train(opened, rows, tmp_path / f"two-{number}", name="two")
        opened.save(tmp_path / f"second-{number}")
    tensors = [(tmp_path / f"second-{number}" / "adapter_model.safetensors").read_bytes() for number in (0, 1)]
    assert tensors[0] == tensors[1] != (tmp_path / "first" / "adapter_model.safetensors").read_bytes()
    assert base_of(tmp_path / "second-0") == checkpoint.resolve()
    with pytest.raises(InfimedError, match=r"adapter that the model comes with is of other settings.*rank 4, not 8"):
        train(reopened, rows, tmp_path / "three", name="three", lora={"rank": 8})
    before = reopened.hidden_states(rows.row(0, 0)).detach()
    train(reopened, rows, tmp_path / "four", name="four", lora={"merge": True}, learning_rate=1e-12)
    assert not hasattr(reopened.module, "peft_config")
    torch.testing.assert_close(reopened.hidden_states(rows.row(0, 0)).detach(), before, rtol=0, atol=1e-5)
    reopened.save(tmp_path / "whole")
    assert not is_adapter(tmp_path / "whole")
    train(reopened, rows, tmp_path / "five", name="five")
    reopened.save(tmp_path / "fifth")
    assert base_of(tmp_path / "fifth") == tmp_path / "whole"  # not the base of the first adapter


def test_a_stopped_stage_leaves_the_adapter_that_it_began_with(source, tmp_path):
    model, checkpoint = source
    network = model.load(checkpoint)
    rows = Rows(network.encoder)
    train(network, rows, tmp_path / "one")
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}

    def fail(kind, payload):
        if kind == "log":
            raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        train(network, rows, tmp_path / "two", name="two", events=fail)
    after = network.module.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_kept_checkpoints_are_adapters_too(source, tmp_path):
    model, checkpoint = source
    network = model.load(checkpoint)
    train(network, Rows(network.encoder), tmp_path / "state", keep_checkpoints={"every": 1})
    kept = tmp_path / "state" / "kept" / "step-000000001"
    assert is_adapter(kept) and base_of(kept) == checkpoint.resolve()
    model.load(kept)


def test_an_adapter_finds_its_base_after_both_moved_and_refuses_another(source, tmp_path):
    model, checkpoint = source
    shutil.copytree(checkpoint, tmp_path / "old" / "base")
    network = model.load(tmp_path / "old" / "base")
    train(network, Rows(network.encoder), tmp_path / "state")
    network.save(tmp_path / "old" / "adapter")
    (tmp_path / "old").rename(tmp_path / "new")
    adapter, base = tmp_path / "new" / "adapter", tmp_path / "new" / "base"
    assert base_of(adapter) == base
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"base of this adapter is not found.*name it in the model's 'base'"):
        base_of(adapter)
    opened = Transformers(checkpoint=str(adapter), base=str(tmp_path / "elsewhere"))
    assert opened.problems({}) == {}
    opened.load(None)
    other = make_source(tmp_path / "other", layers=3)[1]
    with pytest.raises(DataError, match="was trained on other weights"):
        Transformers(checkpoint=str(adapter), base=str(other)).load(None)
    (adapter / "infimed-base.json").unlink()  # as another program writes it
    with pytest.raises(DataError, match="does not fit its base"):
        Transformers(checkpoint=str(_of_one_layer_less(adapter, tmp_path)), base=str(checkpoint)).load(None)


def _of_one_layer_less(adapter, directory):
    from safetensors.torch import load_file, save_file

    copy = directory / "less"
    shutil.copytree(adapter, copy)
    tensors = load_file(copy / "adapter_model.safetensors")
    save_file({name: t for name, t in tensors.items() if "layers.1." not in name}, copy / "adapter_model.safetensors")
    return copy


def test_an_adapter_without_tokenizer_takes_that_of_its_base(source, tmp_path):
    model, checkpoint = source
    network = model.load(checkpoint)
    train(network, Rows(network.encoder), tmp_path / "state")
    network.save(tmp_path / "saved")
    for path in (tmp_path / "saved").iterdir():
        if not path.name.startswith("adapter_"):
            path.unlink()
    opened = Transformers(checkpoint=str(tmp_path / "saved"), dtype="float32", answer_max_visual_tokens=36).load(None)
    assert opened.encoder.asked_digest == model.load(checkpoint).encoder.asked_digest
    assert opened.encoder.pixels is not None


def test_pickled_and_foreign_adapters_are_refused_in_one_line(source, tmp_path):
    _, checkpoint = source
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    body = {"peft_type": "LORA", "base_model_name_or_path": str(checkpoint), "target_modules": ["q_proj"], "r": 4}
    (adapter / "adapter_config.json").write_text(json.dumps(body))
    (adapter / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(DataError, match=r"holds no adapter_model\.safetensors"):
        Transformers(checkpoint=str(adapter)).load(None)
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(DataError, match="names no base"):
        Transformers(checkpoint=str(adapter)).load(None)


def test_settings_that_lose_weights_are_refused():
    with pytest.raises(ValidationError, match="the group 'projector' would be lost"):
        TrainingStage(name="one", trainable=("projector",), lora={"merge": False})
    with pytest.raises(ValidationError, match="continue_from changes the weights beneath"):
        TrainingStage(name="one", continue_from="run/one", lora={"merge": False})


def test_unknown_targets_name_the_known_ones(source, tmp_path):
    model, checkpoint = source
    network = model.load(checkpoint)
    with pytest.raises(
        InfimedError, match=r"no linear layer of language is named 'query' \(they have: down_proj, gate"
    ):
        train(network, Rows(network.encoder), tmp_path, lora={"targets": ["query"]})
    assert not hasattr(network.module, "peft_config")


def test_the_matrices_in_four_bits_learn_through_adapters_alone(tmp_path):
    """QLoRA as far as a CPU goes: the kernels are those of the CPU, the road is the same."""
    pytest.importorskip("bitsandbytes", reason="needs the extra qlora")
    model, checkpoint = make_source(tmp_path / "base", hidden_size=64)
    four = model.model_copy(update={"quantize": "nf4"})
    network, whole = four.load(checkpoint), model.load(checkpoint)
    rows = Rows(network.encoder)
    row = rows.row(0, 0)
    kinds = {name: type(part).__name__ for name, part in network.module.named_modules()}
    assert kinds["model.language_model.layers.0.mlp.up_proj"] == "Linear4bit"
    assert "Linear4bit" not in {kind for name, kind in kinds.items() if "visual" in name or name == "lm_head"}
    before, exact = network.hidden_states(row).detach(), whole.hidden_states(row).detach()
    assert 1e-3 < (before - exact).abs().mean() < 0.5 * exact.abs().mean()
    with pytest.raises(InfimedError, match="weights are quantized, so adapters alone can learn"):
        train(network, rows, tmp_path / "merged", lora={"merge": True})
    codes = {name: p.detach().clone() for name, p in network.module.named_parameters() if not p.is_floating_point()}
    facts = train(network, rows, tmp_path / "state")
    assert codes and facts["loss_last"] < facts["loss_first"]
    held = {name.replace(".base_layer", ""): p for name, p in network.module.named_parameters()}
    assert all(torch.equal(held[name], code) for name, code in codes.items())
    network.save(tmp_path / "adapter")
    after = network.hidden_states(row).detach()
    assert torch.equal(four.load(tmp_path / "adapter").hidden_states(row).detach(), after)
    model.load(tmp_path / "adapter")  # the same adapter on whole weights
    assert network.describe()["quantized"] == "nf4"


def test_without_bitsandbytes_one_line_says_so(source, monkeypatch):
    model, checkpoint = source
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(DataError, match=r"quantize: nf4 cannot run here.*pip install 'infimed\[qlora\]'"):
        model.model_copy(update={"quantize": "nf4"}).load(checkpoint)


def test_a_run_trains_keeps_and_opens_adapters(tmp_path):
    from infimed_core.records import open_run
    from infimed_core.testing import run as run_document
    from infimed_plugins.operations.disk import parts_of

    data = tmp_path / "samples.jsonl"
    turns = [{"role": "user", "content": ["Which plane?"]}, {"role": "assistant", "content": ["axial"]}]
    data.write_text("".join(json.dumps({"id": f"s{n}", "turns": turns}) + "\n" for n in range(8)), encoding="utf-8")
    body = {
        "run": {"name": "kept", "seed": 1},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(data)}}], "filters": []},
        "model": {"use": "tiny-qwen3-vl", "with": {"vocab_size": 400, "layers": 1, "vision_layers": 1}},
        "packing": {"use": "padded", "with": {"row_tokens": 64, "batch_size": 2}},
        "training": {
            "use": "staged",
            "with": {
                "stages": [
                    {"name": "whole", "learning_rate": 1e-3},
                    {"name": "small", "learning_rate": 1e-2, "lora": {"rank": 2, "merge": False}},
                    {"name": "further", "learning_rate": 1e-2, "lora": {"rank": 2, "merge": False}},
                ]
            },
        },
    }
    run_document(body, tmp_path)
    run = open_run(tmp_path / "runs" / "kept")
    whole, small, further = [run.artifact(step) for step in run.steps("train")]
    assert is_adapter(small) and is_adapter(further) and base_of(further) == whole.resolve()
    spare = {part.path for part in parts_of(run.directory, intermediate=True) if part.reason}
    assert small in spare and whole not in spare  # the last adapter stands on it
    body["run"]["name"] = "from-adapter"
    body["model"] = {"use": "transformers", "with": {"checkpoint": str(further), "dtype": "float32"}}
    body["training"]["with"]["stages"] = body["training"]["with"]["stages"][2:]
    run_document(body, tmp_path)
    again = open_run(tmp_path / "runs" / "from-adapter")
    (step,) = again.steps("train")
    assert base_of(again.artifact(step)) == whole.resolve()
