"""The isolation test: a model that lets samples of one row see each other is found, whatever it says of itself."""

import numpy as np
import pytest
import torch

from infimed_core import IGNORED_LABEL, Encoded, TrainableModel
from infimed_core.train.isolation import packed_against_alone


def encoded(identity: str, ids: list[int]) -> Encoded:
    tokens = np.array(ids, dtype=np.int64)
    labels = np.append(tokens[1:], IGNORED_LABEL)
    return Encoded(identity, tokens, labels, np.arange(len(ids))[None], np.zeros(len(ids), dtype=np.int64))


SAMPLES = [encoded("a", [3, 4, 5]), encoded("b", [6]), encoded("c", [7, 8, 9, 3, 4])]


class RunningMean(torch.nn.Module):
    """Each position holds the mean of what came before it in its segment, or in the whole row."""

    def __init__(self, leaks: bool):
        super().__init__()
        self.leaks = leaks
        self.embed = torch.nn.Embedding(16, 8)
        self.head = torch.nn.Linear(8, 16, bias=False)

    def forward(self, batch):
        vectors = self.embed(torch.from_numpy(batch.input_ids))
        sizes = [len(vectors)] if self.leaks else np.diff(batch.cu_seqlens).tolist()
        means = [part.cumsum(0) / torch.arange(1, len(part) + 1)[:, None] for part in vectors.split(sizes)]
        return torch.cat(means)


class Model(TrainableModel):
    """Says that samples may share a row, whether or not they may."""

    def __init__(self, leaks: bool, dtype: torch.dtype = torch.float32):
        torch.manual_seed(0)
        self._module = RunningMean(leaks).to(dtype)

    identity = "test"
    encoder = None

    @property
    def module(self):
        return self._module

    def hidden_states(self, batch):
        return self._module(batch)

    def output_embedding(self):
        return self._module.head

    def parameter_groups(self):
        return {}

    def can_pack(self):
        return True, "trust me"

    def save(self, directory):
        raise NotImplementedError

    def answer(self, requests, media):
        raise NotImplementedError


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_leak_is_found_and_rounding_is_none(dtype):
    difference, limit = packed_against_alone(Model(leaks=False, dtype=dtype), SAMPLES)
    assert difference <= limit
    difference, limit = packed_against_alone(Model(leaks=True, dtype=dtype), SAMPLES)
    assert difference > 3 * limit


def test_the_model_is_left_in_the_mode_it_was_in():
    model = Model(leaks=False)
    model.module.train()
    packed_against_alone(model, SAMPLES)
    assert model.module.training


def test_logits_that_are_no_numbers_prove_nothing():
    model = Model(leaks=False)
    with torch.no_grad():
        model.module.embed.weight[4] = float("nan")
    difference, limit = packed_against_alone(model, SAMPLES)
    assert difference > limit
