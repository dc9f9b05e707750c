"""How fast the inner parts of a run are, each beside a reference computation: see conftest.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infimed_core import Answer, GradedAnswer, Score, assemble, digest, interval, load_plugins
from infimed_core.named_files import digest_of_files
from infimed_core.records import open_run
from infimed_core.testing import make_image, make_sample, run
from infimed_plugins.sft.loss import linear_cross_entropy

REGISTRY = load_plugins()
MEDIA = REGISTRY.media_loader()
TEXTS = [
    make_sample(f"t{n}", "Which plane is this slice of the head?", "It is axial. " * (n % 9 + 1)) for n in range(64)
]
PICTURES = [make_sample(f"p{n}", images=[make_image(224, 224, seed=n)]) for n in range(8)]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_text("".join(sample.model_dump_json() + "\n" for sample in TEXTS * 8))
    return file


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    torch.set_num_threads(1)
    tiny: Any = REGISTRY.make("model", "tiny-qwen3-vl")
    return tiny.load(tiny.prepare(tmp_path_factory.mktemp("model"), lambda: ["which plane is it axial"], 0))


@pytest.fixture(scope="module")
def encoded(model: Any) -> list[Any]:
    return [model.encoder.encode(sample, [MEDIA.load(sample.media[0])], 36) for sample in PICTURES]


def test_reading_rows(benchmark: Any, rows: Path) -> None:
    reader: Any = REGISTRY.make("reader", "jsonl", {"path": str(rows)})
    assert len(benchmark(lambda: list(reader.read(reader.shards()[0])))) == 512


def test_scoring_texts(benchmark: Any) -> None:
    scorer: Any = REGISTRY.make("scorer", "five-dimension")
    benchmark(lambda: scorer.score(TEXTS, MEDIA))


def test_scoring_pictures(benchmark: Any) -> None:
    scorer: Any = REGISTRY.make("scorer", "five-dimension")
    benchmark.pedantic(lambda: scorer.score(PICTURES, MEDIA), rounds=5, warmup_rounds=1)


def test_hashing_values(benchmark: Any) -> None:
    values = [sample.model_dump(mode="json") for sample in TEXTS]
    benchmark(lambda: digest("benchmark", values))


def test_hashing_files(benchmark: Any, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(bytes(4 * 2**20))
    benchmark(lambda: digest_of_files({"path": str(tmp_path / "data.bin")}))


@pytest.mark.parametrize("name", ["best-fit", "next-fit", "padded-sorted"])
def test_planning_rows(benchmark: Any, name: str) -> None:
    packer: Any = REGISTRY.make("packer", name, {"row_tokens": 4096})
    random = np.random.default_rng(0)
    costs = np.stack(
        [random.geometric(1 / 400, 20_000), 4 * random.integers(0, 256, 20_000), random.integers(0, 3, 20_000)]
    )
    benchmark(lambda: packer.group(costs.T.astype(np.int64), packer.budget))


def test_decoding_and_encoding(benchmark: Any, model: Any) -> None:
    def encode() -> None:
        for sample in PICTURES:
            model.encoder.encode(sample, [MEDIA.load(sample.media[0])], 36)

    benchmark(encode)


def test_assembling_a_row(benchmark: Any, encoded: list[Any]) -> None:
    assert len(benchmark(lambda: assemble(encoded)).sample_ids) == len(PICTURES)


def test_attention_over_a_packed_row(benchmark: Any, model: Any, encoded: list[Any]) -> None:
    row = assemble(encoded)

    def forward() -> None:
        with torch.no_grad():
            model.hidden_states(row)

    benchmark.pedantic(forward, rounds=5, warmup_rounds=1)


def test_loss(benchmark: Any) -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(256, 64, generator=generator, requires_grad=True)
    head = torch.nn.Linear(64, 8192, bias=False)
    labels = torch.randint(0, 8192, (256,), generator=generator)
    weights = torch.full((256,), 1 / 256)

    def step() -> None:
        linear_cross_entropy(hidden, head, labels, weights).backward()
        hidden.grad = head.weight.grad = None

    benchmark.pedantic(step, rounds=8, warmup_rounds=1)


def test_grading(benchmark: Any) -> None:
    demo: Any = REGISTRY.make("benchmark", "demo-text")
    samples = list(demo.samples())[:100]
    answers = [
        Answer(sample_id=sample.id, text=f"I think that the answer is {sample.references[0]}.") for sample in samples
    ]
    benchmark(lambda: [demo.grade(*pair, "strict") for pair in zip(samples, answers, strict=True)])


def test_reading_answers(benchmark: Any, tmp_path: Path) -> None:
    """The strict rules, which all benchmarks but the demo's use."""
    options = {"options": ("axial", "sagittal", "coronal")}
    letters = [make_sample(f"l{n}", "Which plane?", "BAC"[n % 3]).model_copy(update=options) for n in range(50)]
    yes = [make_sample(f"y{n}", "Is there an effusion?", ("yes", "no")[n % 2]) for n in range(50)]
    (tmp_path / "rows.jsonl").write_text("".join(sample.model_dump_json() + "\n" for sample in letters + yes))
    reader = {"use": "jsonl", "with": {"path": str(tmp_path / "rows.jsonl")}}
    own: Any = REGISTRY.make("benchmark", "questions", {"reader": reader})
    samples = list(own.samples())
    said = "One might say axial first, but the falx is cut along its length. So I would choose B. No effusion."
    answers = [Answer(sample_id=sample.id, text=said) for sample in samples]
    assert len(samples) == 100
    benchmark(lambda: [own.grade(*pair, "strict") for pair in zip(samples, answers, strict=True)])


@pytest.mark.parametrize("clustered", [False, True])
def test_intervals(benchmark: Any, clustered: bool) -> None:
    values = np.random.default_rng(0).random(2000)
    clusters = [f"image-{n // 3}" for n in range(2000)] if clustered else None
    benchmark(lambda: interval(values, clusters))


def test_intervals_by_resampling(benchmark: Any) -> None:
    values = np.random.default_rng(0).random(500)
    benchmark.pedantic(lambda: interval(values, statistic=lambda v: float(np.median(v))), rounds=5, warmup_rounds=1)


def test_metric_over_answers(benchmark: Any) -> None:
    metric: Any = REGISTRY.make("metric", "balanced-accuracy")
    graded = [
        GradedAnswer(
            make_sample(f"{n}", answer="AB"[n % 2]), Answer(sample_id=f"{n}", text="A"), Score(value=float(n % 2))
        )
        for n in range(500)
    ]
    benchmark(lambda: metric.compute_answers(graded))


def test_writing_the_report(benchmark: Any, tmp_path: Path) -> None:
    sections = {
        "model": {"use": "constant", "with": {"text": "A"}},
        "evaluation": {"benchmarks": [{"use": "demo-text"}]},
    }
    run({"run": {"name": "small"}, **sections}, tmp_path)
    finished = open_run(tmp_path / "runs" / "small")
    reporter: Any = REGISTRY.make("reporter", "html")
    benchmark.pedantic(lambda: reporter.write(finished, finished.directory), rounds=3, warmup_rounds=1)


def test_opening_a_run(benchmark: Any, tmp_path: Path) -> None:
    sections = {"model": {"use": "constant"}, "evaluation": {"benchmarks": [{"use": "demo-text"}], "limit": 20}}
    run({"run": {"name": "small"}, **sections}, tmp_path)
    assert json.loads((tmp_path / "runs" / "small" / "run.json").read_text())
    benchmark(lambda: list(open_run(tmp_path / "runs" / "small").answers("demo-text", "base")))


def test_loading_plugins(benchmark: Any) -> None:
    benchmark.pedantic(load_plugins, rounds=5, warmup_rounds=1)
