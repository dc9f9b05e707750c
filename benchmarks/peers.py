"""Ours, HF Trainer with a padding collator and TRL on the same samples: speed at the same held-out accuracy."""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Results, table

from infimed_core import IGNORED_LABEL, MediaLoader, Request, Sample, Stage, TrainingContext
from infimed_core.evaluate.paired_comparison import mean_difference
from infimed_core.evaluate.statistics import interval
from infimed_core.plan.index import build_index
from infimed_core.plan.planning import plan_stage
from infimed_core.plan.rows import PlannedBatches
from infimed_core.store.dataset import Dataset, write_samples
from infimed_plugins.demo.anatomy import DemoAnatomy
from infimed_plugins.demo.vqa import DemoVqa
from infimed_plugins.image.modality import Image
from infimed_plugins.packing.fitting import BestFit
from infimed_plugins.resolution.schedulers import Fixed, LowToHigh
from infimed_plugins.sft.trainer import StagedTrainer
from infimed_plugins.vlm.checkpoint import Transformers
from infimed_plugins.vlm.tiny import TinyQwen3VL
from infimed_plugins.vlm.vocabulary import train_tokenizer

SAMPLES_A_STEP = 8
LEARNING_RATE = 4e-4
CAP = 9
RISING = "ours, resolution rising"
SIDE = 96
"""Side of LLaVA's pictures: its tower takes one size."""


@dataclass(frozen=True)
class Trained:
    """A way to train, how long it took with all its preparation, and the score of each held-out question."""

    name: str
    seconds: float
    cpu_seconds: float
    num_samples: int
    scores: dict[str, float]
    clusters: dict[str, str]
    facts: dict[str, Any]

    @property
    def rate(self) -> float:
        """Samples a second."""
        return self.num_samples / self.seconds


def demo_samples(count: int, with_text_alone: bool, seed: int) -> list[Sample]:
    """Training samples of the demo's whole mix in random order, repeated after a full pass."""
    found = [sample for sample in DemoAnatomy().read("") if isinstance(sample, Sample)]
    if not with_text_alone:
        found = [sample for sample in found if sample.media]
    random = np.random.default_rng(seed)
    order = np.concatenate([random.permutation(len(found)) for _ in range(-(-count // len(found)))])[:count]
    seen: dict[int, int] = {}
    made = []
    for place in order.tolist():
        seen[place] = seen.get(place, 0) + 1
        made.append(found[place].model_copy(update={"id": f"{found[place].id}~{seen[place]}"}))
    return made


def graded(model: Transformers, checkpoint: Path, loader: MediaLoader, questions: int) -> tuple[dict[str, float], dict[str, str]]:  # fmt: skip  # noqa: E501
    """The score of every held-out question whose answer can be read, unreadable ones as wrong, and its cluster."""
    benchmark = DemoVqa(split="validation", max_samples=questions)
    samples = [sample for sample in benchmark.samples() if isinstance(sample, Sample)]
    by_id = {sample.id: sample for sample in samples}
    network = model.load(checkpoint)
    requests = [
        Request(sample_id=s.id, turns=s.turns, media=s.media, generation=benchmark.generation()) for s in samples
    ]
    scores = {
        answer.sample_id: benchmark.grade(by_id[answer.sample_id], answer, "strict").value or 0.0
        for answer in network.answer(requests, loader)
    }
    return scores, {sample.id: sample.tags.get(benchmark.cluster_by, sample.id) for sample in samples}


def train_ours(model: Any, checkpoint: Path, samples: Sequence[Sample], loader: MediaLoader, caps: Sequence[int], folder: Path) -> tuple[float, dict[str, Any], Path]:  # fmt: skip  # noqa: E501
    """Train by the staged trainer over packed rows; index and plan are in the seconds.

    ``caps`` are visual tokens an image in equal spans of the samples.
    """
    network = model.load(checkpoint)
    write_samples(folder / "samples.jsonl", samples)
    started = time.perf_counter()
    phases = [{"share": 1 / len(caps), "max_visual_tokens": cap} for cap in caps]
    schedule = LowToHigh(phases=phases) if len(caps) > 1 else Fixed(max_visual_tokens=caps[0])
    dataset = Dataset(folder / "samples.jsonl")
    index = build_index(dataset, network.encoder, loader)
    probe = plan_stage(
        index, Stage(name="s"), schedule, BestFit(row_tokens=100_000), network.encoder, 0,
        np.ones(len(dataset), dtype=bool),
    )  # fmt: skip
    row_tokens = max(int(probe.tokens.mean() * SAMPLES_A_STEP), int(probe.tokens.max()))
    stage = {"name": "s", "learning_rate": LEARNING_RATE, "save_every": 10**6}
    trainer = StagedTrainer(stages=(stage,))
    plan = plan_stage(
        index, trainer.stages[0], schedule, BestFit(row_tokens=row_tokens), network.encoder, 0,
        np.ones(len(dataset), dtype=bool),
    )  # fmt: skip
    batches = PlannedBatches(dataset, plan, network.encoder, loader)
    context = TrainingContext(directory=folder / "state", seed=0, emit=lambda *_: None)
    facts = trainer.train(network, batches, trainer.stages[0], context)
    seconds = time.perf_counter() - started
    network.save(folder / "trained")
    keep = ("steps", "samples", "tokens", "padding_share", "data_wait_share", "samples_per_second", "loss_last")
    return seconds, {"row_tokens": row_tokens, **{name: facts[name] for name in keep}}, folder / "trained"


class EncodedSamples(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Samples decoded and encoded when asked for, by the same encoder as ours: only training and padding differ."""

    def __init__(self, samples: Sequence[Sample], encoder: Any, loader: MediaLoader, cap: int) -> None:
        self._samples, self._encoder, self._loader, self._cap = samples, encoder, loader, cap

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Any:
        sample = self._samples[index]
        images = [self._loader.load(sample.media[i]) for turn in sample.turns for i in turn.media_indices]
        return self._encoder.encode(sample, images, self._cap)


def padded(encoded: Sequence[Any]) -> dict[str, torch.Tensor]:
    """What a user's collator makes: samples filled up to the longest, with a mask."""
    longest = max(len(one) for one in encoded)
    shape = (len(encoded), longest)
    ids, types = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    labels, mask = np.full(shape, IGNORED_LABEL, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for place, one in enumerate(encoded):
        length = len(one)
        ids[place, :length], types[place, :length], mask[place, :length] = one.input_ids, one.token_types, 1
        labels[place, 1:length] = one.labels[: length - 1]  # the model shifts them itself
    found = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    names = dict.fromkeys(name for one in encoded for name in one.vision)
    arrays = {name: np.concatenate([one.vision[name] for one in encoded if name in one.vision]) for name in names}
    if "image_grid_thw" in names or not names:
        found["mm_token_type_ids"] = types
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in {**found, **arrays}.items()}


def training_arguments(folder: Path, kind: Any, **settings: Any) -> Any:
    """The same settings for HF Trainer and TRL: what differs from their defaults is what ours trains with."""
    shared = {
        "output_dir": str(folder / "output"), "per_device_train_batch_size": SAMPLES_A_STEP, "num_train_epochs": 1,
        "learning_rate": LEARNING_RATE, "lr_scheduler_type": "cosine", "weight_decay": 0.01, "adam_beta2": 0.95,
        "save_strategy": "no", "report_to": [], "use_cpu": True, "logging_strategy": "no", "disable_tqdm": True,
        "seed": 0, "bf16": False, "dataloader_pin_memory": False,
    }  # fmt: skip
    return kind(**{**shared, **settings})


def train_hf(checkpoint: Path, encoder: Any, samples: Sequence[Sample], loader: MediaLoader, folder: Path) -> tuple[float, dict[str, Any], Path]:  # fmt: skip  # noqa: E501
    """Train by HF Trainer with a padding collator and the model's own forward and loss."""
    from transformers import AutoModelForImageTextToText, Trainer, TrainingArguments

    module = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="sdpa")
    started = time.perf_counter()
    warmup = round(0.03 * len(samples) / SAMPLES_A_STEP)
    arguments = training_arguments(folder, TrainingArguments, remove_unused_columns=False, warmup_steps=warmup)
    trainer = Trainer(
        model=module, args=arguments, train_dataset=EncodedSamples(samples, encoder, loader, CAP), data_collator=padded
    )
    found = trainer.train()
    seconds = time.perf_counter() - started
    _save(module, checkpoint, folder / "trained")
    return seconds, {"steps": found.global_step, "training_loss": found.training_loss}, folder / "trained"


def train_trl(checkpoint: Path, samples: Sequence[Sample], loader: MediaLoader, folder: Path) -> tuple[float, dict[str, Any], Path]:  # fmt: skip  # noqa: E501
    """Train by TRL's SFTTrainer with its own collator for images; loss on the answers, as ours."""
    import datasets
    from transformers import AutoProcessor, LlavaForConditionalGeneration
    from trl import SFTConfig, SFTTrainer

    module = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="sdpa")
    rows = [
        {
            "images": [{"bytes": medium.data, "path": medium.uri} for medium in sample.media],
            "messages": json.dumps([_message(turn) for turn in sample.turns]),
        }
        for sample in samples
    ]
    started = time.perf_counter()
    data = datasets.Dataset.from_list(rows).cast_column("images", datasets.List(datasets.Image()))

    def opened(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        images = [[image.convert("RGB") for image in own] for own in batch["images"]]
        return {"images": images, "messages": [json.loads(text) for text in batch["messages"]]}

    data = data.with_transform(opened)
    warmup = round(0.03 * len(samples) / SAMPLES_A_STEP)
    arguments = training_arguments(
        folder, SFTConfig, warmup_steps=warmup, max_length=None, gradient_checkpointing=False,
        dataset_kwargs={"skip_prepare_dataset": True}, remove_unused_columns=False, assistant_only_loss=True,
    )  # fmt: skip
    processor = AutoProcessor.from_pretrained(checkpoint)
    processor.chat_template = with_answers_marked(processor.chat_template)
    trainer = SFTTrainer(model=module, args=arguments, train_dataset=data, processing_class=processor)
    found = trainer.train()
    seconds = time.perf_counter() - started
    _save(module, checkpoint, folder / "trained")
    return seconds, {"steps": found.global_step, "training_loss": found.training_loss}, folder / "trained"


def _message(turn: Any) -> dict[str, Any]:
    parts = [{"type": "image"} if isinstance(part, int) else {"type": "text", "text": part} for part in turn.content]
    return {"role": turn.role, "content": parts}


def with_answers_marked(template: str) -> str:
    """The same chat template with the assistant's turns marked, as TRL wants them for a loss on answers alone."""
    whole = "{{- write(message.content) -}}\n    {{- '<|im_end|>\\n' -}}"
    if template.count(whole) != 1:
        raise ValueError("the chat template of tiny models has changed; mark its answers anew")
    marked = "{%- if message.role == 'assistant' -%}{%- generation -%}" + whole + "{%- endgeneration -%}"
    return template.replace(whole, marked + "{%- else -%}" + whole + "{%- endif -%}")


def _save(module: Any, checkpoint: Path, target: Path) -> None:
    shutil.copytree(checkpoint, target, dirs_exist_ok=True)
    module.save_pretrained(target)


def make_llava(directory: Path, texts: Sequence[str]) -> Path:
    """A tiny LLaVA (SigLIP tower, Qwen3) of about the demo model's size, with its processor, for all to open."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor, SiglipImageProcessorPil

    tokenizer = train_tokenizer(texts, 2048)
    place = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
        "intermediate_size": 512, "image_size": SIDE, "patch_size": 16, "vision_use_head": False,
    }  # fmt: skip
    text = {
        "model_type": "qwen3", "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "head_dim": 32,
        "num_key_value_heads": 2, "intermediate_size": 512, "vocab_size": -(-len(tokenizer) // 8) * 8,
        "max_position_embeddings": 8192, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=place, image_token_id=place,
        vision_feature_select_strategy="full", vision_feature_layer=-1,
    )  # fmt: skip
    torch.manual_seed(0)
    module = LlavaForConditionalGeneration(config)
    module.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    module.generation_config.pad_token_id = tokenizer.pad_token_id
    module.save_pretrained(directory)
    pixels = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    LlavaProcessor(
        image_processor=pixels, tokenizer=tokenizer, patch_size=16, vision_feature_select_strategy="full",
        num_additional_image_tokens=0, image_token="<|image_pad|>", chat_template=tokenizer.chat_template,
    ).save_pretrained(directory)  # fmt: skip
    tokenizer.save_pretrained(directory)
    pixels.save_pretrained(directory)
    return directory


def compare(results: Results, way: str, name: str, ours: Sequence[Trained], theirs: Sequence[Trained]) -> None:
    """Rates in turns, and whether the accuracy is the same: the median ratio over rounds, the last round's scores."""
    ratios = [one.rate / other.rate for one, other in zip(ours, theirs, strict=True)]
    own, other = ours[-1], theirs[-1]
    rows = []
    for one in (own, other):
        values = list(one.scores.values())
        low, high = interval(values, clusters=[one.clusters[i] for i in one.scores])
        rows.append(
            [one.name, round(one.rate, 1), round(one.seconds, 1), f"{np.mean(values):.3f} [{low:.3f}, {high:.3f}]"]
        )
    table(["way", "samples/s", "seconds", "held-out accuracy"], rows)
    shared = [identity for identity in own.scores if identity in other.scores]
    scores = (np.array([side.scores[i] for i in shared], dtype=np.float64) for side in (own, other))
    paired = mean_difference(*scores, [own.clusters[i] for i in shared])
    assert paired is not None
    difference, low, high = paired.difference, paired.low, paired.high
    print(f"accuracy, ours minus theirs: {difference:+.3f} [{low:+.3f}, {high:+.3f}]; ratios {ratios}\n")
    results.target(f"{way}: samples/s over {name}, same number of samples", statistics.median(ratios), ">= 2")
    results.target(f"{way}: accuracy not below {name}'s, upper end of the difference", high, ">= 0")
    results.details[f"{way} beside {name}"] = {
        "ratios": ratios,
        "ratios of CPU seconds, loading included": [
            theirs_.cpu_seconds / ours_.cpu_seconds for ours_, theirs_ in zip(ours, theirs, strict=True)
        ],
        "accuracy": {"difference": difference, "low": low, "high": high, "questions": len(shared)},
        "ours": [_shown(one) for one in ours],
        "theirs": [_shown(one) for one in theirs],
    }


def _shown(one: Trained) -> dict[str, Any]:
    accuracy = float(np.mean(list(one.scores.values()))) if one.scores else None
    return {
        "seconds": one.seconds,
        "cpu_seconds": one.cpu_seconds,
        "samples_per_second": one.rate,
        "accuracy": accuracy,
        **one.facts,
    }


Way = Callable[[Sequence[Sample], Path], tuple[float, dict[str, Any], Path]]


def in_turns(
    ways: dict[str, Way], samples: Sequence[Sample], rounds: int, grade: Callable[[Path], Any]
) -> dict[str, list[Trained]]:
    """Every way once with a few samples to warm up, then in turns; the last round is graded."""
    found: dict[str, list[Trained]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                chosen = samples if number else samples[: 5 * SAMPLES_A_STEP]
                cpu = time.process_time()
                seconds, facts, trained = way(chosen, Path(folder))
                cpu = time.process_time() - cpu
                scores, clusters = grade(trained) if number == rounds else ({}, {})
            if number:
                found[name].append(Trained(name, seconds, cpu, len(chosen), scores, clusters, facts))
    return found


def against_hf(results: Results, samples_count: int, questions: int, rounds: int) -> None:
    """The demo's model, tiny Qwen3-VL: ours and HF Trainer."""
    loader = MediaLoader({"image": Image()})
    samples = demo_samples(samples_count, with_text_alone=True, seed=0)
    source = TinyQwen3VL(device="cpu", answer_max_visual_tokens=CAP)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = source.prepare(Path(folder), lambda: (t.text for s in samples for t in s.turns), 0)
        encoder = source.encoder(checkpoint)
        ways: dict[str, Way] = {
            "ours": lambda chosen, place: train_ours(source, checkpoint, chosen, loader, [CAP], place),
            RISING: lambda chosen, place: train_ours(source, checkpoint, chosen, loader, [4, CAP], place),
            "HF Trainer, padding collator": lambda chosen, place: train_hf(checkpoint, encoder, chosen, loader, place),
        }
        model = Transformers(checkpoint=str(checkpoint), device="cpu", answer_max_visual_tokens=CAP)
        found = in_turns(ways, samples, rounds, lambda path: graded(model, path, loader, questions))
    for own in ("ours", RISING):
        compare(results, own, "HF Trainer", found[own], found["HF Trainer, padding collator"])


def against_trl(results: Results, samples_count: int, questions: int, rounds: int) -> None:
    """A tiny LLaVA: ours and TRL's SFTTrainer."""
    loader = MediaLoader({"image": Image()})
    samples = demo_samples(samples_count, with_text_alone=False, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = make_llava(Path(folder), [turn.text for sample in samples for turn in sample.turns])
        model = Transformers(checkpoint=str(checkpoint), device="cpu", answer_max_visual_tokens=None)
        most = (SIDE // 16) ** 2
        ways: dict[str, Way] = {
            "ours": lambda chosen, place: train_ours(model, checkpoint, chosen, loader, [most], place),
            RISING: lambda chosen, place: train_ours(model, checkpoint, chosen, loader, [9, most], place),
            "TRL SFTTrainer": lambda chosen, place: train_trl(checkpoint, chosen, loader, place),
        }
        found = in_turns(ways, samples, rounds, lambda path: graded(model, path, loader, questions))
    for own in ("ours", RISING):
        compare(results, own, "TRL SFTTrainer", found[own], found["TRL SFTTrainer"])
