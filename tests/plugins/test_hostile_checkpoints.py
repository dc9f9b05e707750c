"""A checkpoint of others is looked at before it is opened: what is no part of it is refused, and told in one line."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from infimed_core import DataError, InfimedError, digest_of_checkpoint
from infimed_plugins.checkpoint_files import check_files, check_size, check_weights, one_line, opening
from infimed_plugins.embedding.encoder import open_encoder
from infimed_plugins.sft.continuing import check_weights as checked_by_training
from infimed_plugins.vllm.model import Engine, Vllm
from infimed_plugins.vlm import template_limits
from infimed_plugins.vlm.assemble import Assemble
from infimed_plugins.vlm.checkpoint import Transformers, read_config
from infimed_plugins.vlm.template_limits import BoundedEnvironment, bound_templates

INDEX = "model.safetensors.index.json"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Of two matrices and the configuration of a small language model."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    body = {"model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    (folder / "config.json").write_text(json.dumps({**body, "num_attention_heads": 2, "vocab_size": 16}))
    save_file({"a": np.zeros((8, 16), np.float32), "b": np.zeros(8, np.float32)}, folder / "model.safetensors")
    return folder


def sharded(folder: Path, name: Any) -> None:
    """Let an index say that all weights are in ``name``."""
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"a": name, "b": name}}))


def test_a_plain_checkpoint_a_sharded_one_and_one_of_the_hub_pass(checkpoint: Path, tmp_path: Path) -> None:
    assert (check_files(checkpoint).num_tensors, check_files(checkpoint).longest) == (2, 16)
    (checkpoint / "part").mkdir()
    (checkpoint / "model.safetensors").rename(checkpoint / "part" / "w.safetensors")
    sharded(checkpoint, "part/w.safetensors")
    assert check_weights(checkpoint).num_tensors == 2
    snapshot, blobs = tmp_path / "models--o--n" / "snapshots" / "abc", tmp_path / "models--o--n" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (checkpoint / "part" / "w.safetensors").rename(blobs / "1")
    (snapshot / "model.safetensors").symlink_to("../../blobs/1")
    assert check_weights(snapshot).num_tensors == 2


OUTSIDE = ["w.bin", "pytorch_model.pt", "../w.safetensors", "a/../../w.safetensors", ".x/w.safetensors", "w", 5, None]


@pytest.mark.parametrize("name", [*OUTSIDE, "/srv/w.safetensors", "absent.safetensors", "a\\w.safetensors"])
def test_weights_of_another_format_or_place_are_refused_by_all_that_open_them(checkpoint: Path, name: Any) -> None:
    sharded(checkpoint, name)
    place = str(checkpoint)
    for open_it in (
        lambda: Transformers(checkpoint=place).load(checkpoint),
        lambda: Transformers(checkpoint=place).encoder(checkpoint).tokenizer,
        lambda: Assemble(vision=place, language=place).prepare(checkpoint / "made", list, 0),
        lambda: open_encoder(place, None, 4, "cpu"),
        lambda: checked_by_training(checkpoint),
        lambda: read_config(checkpoint),
    ):
        with pytest.raises(InfimedError, match="safetensors") as told:
            open_it()
        assert "\n" not in str(told.value) and place in str(told.value)


def test_vllm_opens_no_pickled_weights_of_this_disk(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "vllm", object())  # not reached
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(DataError, match="holds no weights in safetensors"):
        _ = Engine(Vllm(checkpoint=str(checkpoint))).engine
    with pytest.raises(InfimedError, match="no safetensors file"):
        open_encoder(f"open_clip:ViT-B-32@{checkpoint / 'pytorch_model.bin'}", None, 4, "cpu")


@pytest.mark.parametrize("named", ["w.bin", "adapter_model.bin", "../w.safetensors", "sub/w.safetensors", 1])
def test_a_configuration_names_no_weights_elsewhere(checkpoint: Path, named: Any) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "transformers_weights": named}))
    with pytest.raises(DataError, match="'transformers_weights' names"):
        read_config(checkpoint)


def test_links_that_leave_pipes_and_an_adapter_beside_a_model_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for name, target in (("chat_template.jinja", "../config.json"), ("additional_chat_templates", "../elsewhere")):
        (checkpoint / name).symlink_to(target)
        with pytest.raises(DataError, match=f"{name}: is a link that leaves"):
            read_config(checkpoint)
        (checkpoint / name).unlink()
    os.mkfifo(checkpoint / "tokenizer.json")
    with pytest.raises(DataError, match=r"tokenizer\.json: is no regular file"):
        read_config(checkpoint)
    digest_of_checkpoint(str(checkpoint))  # does not wait for it
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (checkpoint / "adapter_model.bin").write_bytes(b"\x80")
    with pytest.raises(DataError, match=r"adapter_config\.json: lies beside config\.json"):
        Transformers(checkpoint=str(checkpoint)).load(checkpoint)


@pytest.mark.parametrize("damage", ["cut", "longer", "header", "empty", "text", "offsets"])
def test_damaged_weights_are_one_line_that_names_the_file(checkpoint: Path, damage: str) -> None:
    file = checkpoint / "model.safetensors"
    whole = file.read_bytes()
    other = {
        "cut": whole[:-3], "longer": whole + b"x", "header": b"\xff" * 8 + whole[8:], "empty": b"",
        "text": b"version https://git-lfs.github.com/spec/v1\n",
        "offsets": whole.replace(b"data_offsets", b"data_offsetz"),
    }  # fmt: skip
    file.write_bytes(other[damage])
    with pytest.raises(DataError, match=r"model\.safetensors: is no whole safetensors file .*again") as told:
        Transformers(checkpoint=str(checkpoint)).load(checkpoint)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("key", "value"), [("num_hidden_layers", 10**9), ("depth", 50_000), ("depths", [2, 10**7]),
    ("num_local_experts", 10**8), ("n_layer", 1e12)])  # fmt: skip
def test_layers_without_end_are_refused_before_a_model_is_built(checkpoint: Path, key: str, value: Any) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "text_config": {key: value}}))
    with pytest.raises(DataError, match=f"'{key}' is .* more than the tensors that are there"):
        read_config(checkpoint)


def test_a_model_far_larger_than_its_weights_is_refused_without_its_memory(checkpoint: Path) -> None:
    import torch

    with pytest.raises(DataError, match=r"config\.json: describes 1,000,000,000,000 parameters"):
        check_size(checkpoint, check_files(checkpoint), lambda: torch.nn.Linear(10**6, 10**6, bias=False))
    check_size(checkpoint, check_files(checkpoint), lambda: torch.nn.Linear(8, 16))


@pytest.mark.parametrize(
    "text", ["[1]", "[" * 50_000, "{", '{"model_type": 5}', '{"model_type": "llama", "hidden_size": "x"}']
)
def test_a_damaged_configuration_is_one_line(checkpoint: Path, text: str) -> None:
    (checkpoint / "config.json").write_text(text)
    with pytest.raises(DataError, match=r"config\.json: cannot be used") as told:
        read_config(checkpoint)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("text", ["{}", "[" * 50_000, '{"version": "1.0", "model": {"type": "?"}}'])
def test_a_damaged_tokenizer_is_one_line(checkpoint: Path, text: str) -> None:
    (checkpoint / "tokenizer.json").write_text(text)
    (checkpoint / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    with pytest.raises(DataError, match=f"{checkpoint}: its tokenizer: cannot be opened") as told:
        _ = Transformers(checkpoint=str(checkpoint)).encoder(checkpoint).tokenizer
    assert "\n" not in str(told.value)


def test_whatever_a_library_raises_is_one_line_and_errors_of_ours_stay() -> None:
    for error in (ZeroDivisionError("x"), RuntimeError("a\nb"), KeyError("k"), MemoryError(), RecursionError("deep")):
        with pytest.raises(DataError, match=r"^here: cannot be opened: ") as told, opening("here"):
            raise error
        assert "\n" not in str(told.value)
    with pytest.raises(DataError, match=r"^own$"), opening("here"):
        raise DataError("code", "own")
    assert one_line(KeyError("k")) == "KeyError: 'k'"


# ---- templates -----------------------------------------------------------------------------------------------------


def rendered(template: str) -> str:
    from transformers.utils import chat_template_utils

    bound_templates()
    made = chat_template_utils._compile_jinja_template(template)
    assert isinstance(made.environment, BoundedEnvironment)
    messages = [{"role": role, "content": f" {role} says <é> "} for role in ("system", "user", "assistant", "user")]
    return made.render(messages=messages, tools=[{"name": "f", "n": [1, 2]}], add_generation_prompt=True)


@pytest.mark.parametrize("template", [
    "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
    "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% for i in range(99999) recursive %}{{ loop(range(99999)) if loop.depth < 4 }}{% endfor %}",
    "{% set r = range(99999)|list %}{% for i in r %}{% set x = r|sort %}{% endfor %}",
    "{% set r = range(99999)|list %}{% for i in r %}{{ -1 in r }}{% endfor %}",
    "{% set n = namespace(t='ab') %}{% for i in range(60) %}{% set n.t = n.t + n.t %}{% endfor %}",
    "{% set n = namespace(t='ab') %}{% for i in range(60) %}{% set n.t = n.t ~ n.t %}{% endfor %}",
    "{{ 'ab' * 10**10 }}", "{{ [0] * 10**10 }}", "{{ 7 ** (7 ** 9) }}", "{{ 'a'.ljust(10**10) }}",
    "{{ 'a'|center(10**10) }}",
    "{{ '%9999999999d' % 1 }}", "{{ '{:>9999999999}'.format(1) }}", "{{ '%*d' % (10**10, 1) }}",
    "{{ lipsum(n=10**9) }}",
    "{{ ('a' * 10**7).replace('a', 'b' * 10**7) }}", "{{ 'a'|indent(10**10, true) }}",
    "{{ tools|tojson(indent=10**9) }}",
    "{% for i in range(99999) %}{{ 'abcdefgh' * 1000 }}{% endfor %}",
])  # fmt: skip
def test_a_template_without_end_ends_soon(monkeypatch: pytest.MonkeyPatch, template: str) -> None:
    from jinja2 import TemplateError

    monkeypatch.setattr(template_limits, "MOST_SECONDS", 0.2)
    with pytest.raises((TemplateError, OverflowError)):
        rendered(template)


@pytest.mark.parametrize("template", [
    "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.last }}"
    "{{ m.role ~ ': ' ~ m['content']|trim ~ '\\n' }}"
    "{% if not loop.last and loop.nextitem.role == 'user' %}!{% endif %}{% endfor %}",
    "{% set ns = namespace(i=0) %}{% for m in messages[::-1] %}{% set ns.i = ns.i + 1 %}{{ ns.i }}{% endfor %}{{ ns.i }}",
    "{{ tools|tojson(indent=2) }}{{ messages|map(attribute='role')|join(', ') }}{{ 'user' in messages[1].role }}",
    "{% macro say(m) %}[{{ m.role|upper }}]{{ m.content.split('says')[-1].strip() }}{% endmacro %}"
    "{% for m in messages if m.role != 'system' %}{{ say(m) }}{% else %}none{% endfor %}"
    "{{ '{} {}'.format(1700000000, 'x') }}",
    "{{ undefined_name is defined }}{{ undefined_name|default('d') }}{% for x in undefined_name %}{% endfor %}"
    "{{ '%s-%05d' % ('a', 7) }}{{ messages|length * 2 }}{{ '-' * 10 }}"
    "{% for k, v in tools[0].items() %}{{ k }}{{ v }}{% endfor %}",
])  # fmt: skip
def test_an_honest_template_says_what_it_says_without_bounds(template: str) -> None:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    plain = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    plain.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    messages = [{"role": role, "content": f" {role} says <é> "} for role in ("system", "user", "assistant", "user")]
    expected = plain.from_string(template).render(messages=messages, tools=[{"name": "f", "n": [1, 2]}])
    assert rendered(template) == expected
