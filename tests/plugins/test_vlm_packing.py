"""Invariant 1: a packed row gives what its samples give alone; and the test that says so catches the wrong ways."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_checkpoints import configuration_of, mistral_small_4
from vlm_leaks import LEAKS, leaks_of, row_with

from infimed_core import assemble
from infimed_plugins.vlm import attention
from infimed_plugins.vlm.families import FAMILIES, family_of
from infimed_plugins.vlm.isolation import TOLERANCE, make_samples, measure, shrunken_module, verdict
from infimed_plugins.vlm.recurrent import recurrent_layers
from infimed_plugins.vlm.rows import row_hidden_states

pytestmark = [pytest.mark.newest, pytest.mark.usefixtures("one_thread")]

MODEL_TYPES = [name for name, family in FAMILIES.items() if family.packs]
SMALL_4 = "mistral3 with mistral4"


def config_of(model_type: str):
    return mistral_small_4() if model_type == SMALL_4 else configuration_of(model_type)


@pytest.mark.parametrize("kind", ["packed", "sdpa"])
@pytest.mark.parametrize("model_type", [*MODEL_TYPES, SMALL_4])
def test_logits_and_every_gradient_of_a_packed_row_equal_those_of_its_samples_alone(model_type, kind):
    logits, gradients = measure(config_of(model_type), kind)
    assert logits <= TOLERANCE and gradients <= TOLERANCE
    assert verdict(config_of(model_type), kind).packable


@pytest.mark.parametrize(("model_type", "way"), [(m, way) for m in MODEL_TYPES for way in leaks_of(FAMILIES[m])])
def test_the_isolation_test_catches_the_ways_in_which_samples_leak(model_type, way):
    logits, gradients = measure(config_of(model_type), "sdpa", row_with(LEAKS[way]))
    assert logits > 100 * TOLERANCE and gradients > 100 * TOLERANCE


@pytest.mark.parametrize("model_type", ["qwen3_vl", "internvl", "qwen3"])
def test_the_same_row_without_a_wrong_way_is_right(model_type):
    assert max(measure(config_of(model_type), "sdpa", row_with(lambda inputs: {}))) <= TOLERANCE


def test_a_layer_that_ignores_the_borders_is_caught(monkeypatch):
    def deaf(module, batch, family):
        module.config.text_config._attn_implementation_internal = "sdpa"
        for layer in module.modules():
            if getattr(layer, "is_causal", False):
                layer.config._attn_implementation_internal = "sdpa"
        return row_hidden_states(module, batch, family)

    with pytest.raises(RuntimeError, match="0 of 2 causal attention layers"):
        measure(config_of("qwen3_vl"), "packed", deaf)


@pytest.mark.parametrize("lengths", [[1], [70, 3], [64, 65, 1, 130, 66, 2, 64]])
@pytest.mark.parametrize("model_type", ["qwen3_5", "qwen3_5_moe", "glm5_next"])
def test_a_layer_with_a_state_begins_anew_at_every_border(model_type, lengths):
    (layer,) = recurrent_layers(shrunken_module(config_of(model_type), "packed").double())
    row = torch.randn(1, sum(lengths), 128, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    borders = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
    alone = torch.cat([layer(part) for part in row.split(lengths, dim=1)], dim=1)
    torch.testing.assert_close(
        layer(row, cu_seq_lens_q=borders, max_length_q=max(lengths)), alone, rtol=1e-5, atol=1e-6
    )
    if len(lengths) > 1:
        assert (layer(row) - alone).abs().max() > 1e-3


def test_a_layer_whose_index_pools_tokens_begins_anew_at_every_border_and_hands_on_what_it_chose():
    """In a row that is not cut the pools of a sample begin within the one before it, and a query sees that one too."""
    config = config_of("glm5_next")
    config.text_config.indexer_types = ["full", "shared"] * 23
    module = shrunken_module(config, "packed")
    full, shared = attention.attention_layers(module.model.language_model)
    lengths = [70, 3, 1, 66, 130, 9]
    row = torch.randn(1, sum(lengths), 128, generator=torch.Generator().manual_seed(0))
    borders = {"cu_seq_lens_q": torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)}
    real = torch.ones(1, sum(lengths), dtype=torch.bool)
    found, _, chosen = full(row, real, **borders)
    again, *_ = shared(row, real, prev_topk_indices=chosen, **borders)
    wanted, wanted_again = [], []
    for part in row.split(lengths, dim=1):
        alone, _, own = full(part, real[:, : part.shape[1]])
        wanted.append(alone)
        wanted_again.append(shared(part, real[:, : part.shape[1]], prev_topk_indices=own)[0])
        seen = (own[0] >= 0).sum(-1)
        assert seen.max() <= 8 + 3 and (part.shape[1] < 12 or seen.min() == 1)  # two pools of four, and the open one
    torch.testing.assert_close(found, torch.cat(wanted, dim=1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(again, torch.cat(wanted_again, dim=1), rtol=1e-4, atol=1e-5)
    assert (full(row, real)[0] - found).abs().max() > 1e-2


def test_a_layer_with_a_state_that_ignores_the_borders_is_caught():
    def deaf(module, batch, family):
        for layer in recurrent_layers(module):
            layer.forward = lambda hidden_states, **named: hidden_states
        return row_hidden_states(module, batch, family)

    with pytest.raises(RuntimeError, match="0 of 1 recurrent linear attention layers"):
        measure(config_of("qwen3_5"), "packed", deaf)


def test_a_layer_of_linear_attention_of_another_class_is_not_packed_unseen(monkeypatch):
    monkeypatch.setattr(attention, "recurrent_layers", lambda module: [])
    with pytest.raises(RuntimeError, match="0 of 1 recurrent linear attention layers"):
        measure(config_of("qwen3_5"), "packed")


def test_an_unknown_family_is_not_packed_and_says_so():
    gemma = verdict(config_of("gemma3_text"))
    assert not gemma.packable and "gemma3_text" in gemma.explanation and "padded" in gemma.explanation


def test_layers_with_a_window_are_left_to_transformers_and_still_proven_apart():
    config = config_of("qwen3")
    config.layer_types, config.num_hidden_layers, config.sliding_window = ["full_attention", "sliding_attention"], 2, 64
    found = verdict(config)
    assert found.packable and "(sdpa)" in found.explanation
    assert {c._attn_implementation for layer in shrunken_module(config, "packed").modules()
            if (c := getattr(layer, "config", None)) is not None} == {"sdpa"}  # fmt: skip


def test_packed_attention_refuses_to_run_without_borders_or_with_a_mask():
    query = torch.zeros(1, 2, 3, 4)
    layer = torch.nn.Identity()
    with pytest.raises(RuntimeError, match="samples would mix"):
        attention.packed_attention(layer, query, query, query)
    borders = torch.tensor([0, 3], dtype=torch.int32)
    with pytest.raises(RuntimeError, match="samples would mix"):
        attention.packed_attention(layer, query, query, query, torch.zeros(1, 1, 3, 3), cu_seq_lens_q=borders)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.booleans(), st.sampled_from([(4, 4), (4, 2), (3, 1)]))
def test_segmented_attention_equals_attention_of_each_segment(lengths, causal, heads):
    generator = torch.Generator().manual_seed(sum(lengths))
    sizes = [(1, count, sum(lengths), 8) for count in (heads[0], heads[1], heads[1])]
    query, key, value = (torch.randn(*size, generator=generator, dtype=torch.float64) for size in sizes)
    borders = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
    result, weights = attention.packed_attention(
        torch.nn.Identity(), query, key, value, cu_seq_lens_q=borders, is_causal=causal
    )
    parts = [
        torch.nn.functional.scaled_dot_product_attention(
            *(t[:, :, start:stop] for t in (query, key, value)), is_causal=causal, enable_gqa=True
        ).transpose(1, 2)
        for start, stop in itertools.pairwise(borders.tolist())
    ]
    assert weights is None
    torch.testing.assert_close(result, torch.cat(parts, dim=1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("model_type", ["qwen2_5_vl", "qwen3_vl", "qwen3_5", "llava", "internvl", "qwen3"])
def test_a_padded_row_gives_its_samples_what_they_get_alone(model_type):
    module = shrunken_module(config_of(model_type), "packed")
    family = family_of(module.config)
    samples = make_samples(module.config, family)
    longest = max(len(sample) for sample in samples)
    hidden = row_hidden_states(module, assemble(samples, padded=True), family)
    for index, sample in enumerate(samples):
        alone = row_hidden_states(module, assemble([sample]), family)
        mine = hidden[index * longest : index * longest + len(sample)]
        torch.testing.assert_close(mine, alone, rtol=1e-4, atol=1e-5)


def test_a_row_whose_samples_all_failed_is_empty():
    from infimed_core.plan.rows import assemble

    module = shrunken_module(config_of("qwen3_vl"), "packed")
    assert row_hidden_states(module, assemble([]), family_of(module.config)).shape == (0, 128)


def test_a_row_of_text_alone_reaches_the_parameters_that_images_reach_when_ranks_share_gradients(monkeypatch):
    from infimed_plugins.vlm import rows

    monkeypatch.setattr(rows, "_shares_gradients", lambda: True)
    for model_type in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "llava", "internvl", "gemma3"):
        module = shrunken_module(config_of(model_type), "packed").train()
        family = family_of(module.config)
        samples = make_samples(module.config, family)
        reached = []
        for sample in (next(s for s in samples if s.vision), next(s for s in samples if not s.vision)):
            module.zero_grad(set_to_none=True)
            module.get_output_embeddings()(row_hidden_states(module, assemble([sample]), family)).sum().backward()
            reached.append({name for name, parameter in module.named_parameters() if parameter.grad is not None})
        assert reached[0] == reached[1] and any(name.startswith(family.vision) for name in reached[0])


@pytest.mark.parametrize("model_type", ["qwen3_vl", "llava"])
def test_a_row_of_text_alone_runs_the_tower_also_where_a_stage_is_measured(monkeypatch, model_type):
    """In evaluation mode too: ranks that hold shares gather the tower's layers together, or wait for ever."""
    from infimed_plugins.vlm import rows

    monkeypatch.setattr(rows, "_shares_gradients", lambda: True)
    module = shrunken_module(config_of(model_type), "packed").eval()
    family = family_of(module.config)
    ran = []
    for name, part in module.named_modules():
        if name + "." in family.vision:
            part.register_forward_hook(lambda *_: ran.append(True))
    sample = next(sample for sample in make_samples(module.config, family) if not sample.vision)
    with torch.no_grad():
        row_hidden_states(module, assemble([sample]), family)
    assert ran


@pytest.mark.parametrize("model_type", ["qwen3_vl", "internvl", "qwen3"])
def test_at_run_time_a_layer_without_borders_is_an_error(model_type, tmp_path):
    from small_checkpoints import write_small_checkpoint

    from infimed_core.plan.rows import assemble
    from infimed_plugins.vlm.checkpoint import Transformers

    write_small_checkpoint(model_type, tmp_path, ["Which plane? axial"] * 5)
    network = Transformers(checkpoint=str(tmp_path), device="cpu").load(None)
    samples = make_samples(network.module.config, network.family)
    row = assemble([sample for sample in samples if not sample.vision])
    network.hidden_states(row)
    layer = next(layer for layer in network.module.modules() if getattr(layer, "is_causal", False))

    def deaf(*args, **kwargs):
        return torch.zeros(1, len(row), network.module.config.get_text_config().hidden_size), None

    layer.forward = deaf
    with pytest.raises(RuntimeError, match="1 of 2 causal attention layers"):
        network.hidden_states(row)


def test_a_kernel_that_is_not_installed_is_told_with_the_way_to_get_it():
    from infimed_core import DataError

    with pytest.raises(DataError, match=r"kernel: flash-attn-4 needs flash-attn-4 .*pip install 'flash-attn-4'"):
        attention.AttentionState("flash-attn-4")


@pytest.mark.parametrize("name", ["flash-attn-2", "flash-attn-4"])
def test_a_kernel_asked_for_gets_the_borders(monkeypatch, name):
    """Stands in for what only a GPU can run: the arguments it is called with."""
    import sys
    from types import ModuleType

    module = ModuleType(attention._FLASH[name][0])

    def flash_attn_varlen_func(q, k, v, *, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, softmax_scale, causal):  # fmt: skip  # noqa: E501
        assert cu_seqlens_q.tolist() == cu_seqlens_k.tolist() == [0, 2, 5] and max_seqlen_q == max_seqlen_k == 3
        lengths = tuple(np.diff(cu_seqlens_q.numpy()).tolist())
        heads = (t.transpose(0, 1)[None] for t in (q, k, v))
        return attention._segmented(*heads, lengths, causal, softmax_scale, 0.0, False)[0]

    module.flash_attn_varlen_func = flash_attn_varlen_func
    monkeypatch.setitem(sys.modules, module.__name__, module)
    state = attention.AttentionState(name)
    parts = [torch.randn(5, 2, 8) for _ in range(3)]
    borders = torch.tensor([0, 2, 5], dtype=torch.int32)
    output = attention._on_cuda(*parts, borders, 3, True, 0.3, state.kernel)
    heads = [part.transpose(0, 1)[None] for part in parts]
    alone = [torch.nn.functional.scaled_dot_product_attention(*(t[:, :, a:b] for t in heads), is_causal=True, scale=0.3)
             for a, b in ((0, 2), (2, 5))]  # fmt: skip
    torch.testing.assert_close(output, torch.cat(alone, dim=2)[0].transpose(0, 1))
