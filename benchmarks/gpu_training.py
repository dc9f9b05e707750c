"""A Qwen3-VL of real size (random weights) trained on a GPU: ours, HF Trainer with a padding collator, TRL.

Needs torch >= 2.10, transformers >= 5.10 and accelerate; trl where it is installed; no flash-attn, no network.
``--smoke`` runs the same code in a tiny shape, also on a CPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Results, main, table
from peers import padded, training_arguments

from infimed_core import IGNORED_LABEL, Encoded, PackedBatch, TrainingContext
from infimed_core.plan.rows import assemble
from infimed_plugins.packing.fitting import BestFit
from infimed_plugins.sft.accounting import peak_memory
from infimed_plugins.sft.flop_counter import FlopCounter, peak_flops
from infimed_plugins.sft.parameters import grouped_parameters
from infimed_plugins.sft.trainer import StagedTrainer
from infimed_plugins.vlm.expansion import rope_positions
from infimed_plugins.vlm.isolation import verdict
from infimed_plugins.vlm.settings import OpeningSettings
from infimed_plugins.vlm.transformers_model import TransformersModel

VISION = {"depth": 24, "hidden_size": 1024, "num_heads": 16, "intermediate_size": 4096}
SHAPES: dict[str, dict[str, Any]] = {
    "2b": {
        "text": {"hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
                 "intermediate_size": 6144, "head_dim": 128, "vocab_size": 151936},
        "vision": {**VISION, "deepstack_visual_indexes": [5, 11, 17]}, "row_tokens": 8192, "samples": 768,
    },
    "4b": {
        "text": {"hidden_size": 2560, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
                 "intermediate_size": 9728, "head_dim": 128, "vocab_size": 151936},
        "vision": {**VISION, "deepstack_visual_indexes": [5, 11, 17]}, "row_tokens": 8192, "samples": 512,
    },
    "smoke": {
        "text": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
                 "intermediate_size": 128, "head_dim": 16, "vocab_size": 320},
        "vision": {"depth": 2, "hidden_size": 64, "num_heads": 4, "intermediate_size": 128,
                   "deepstack_visual_indexes": [0, 1]}, "row_tokens": 256, "samples": 48,
    },
}  # fmt: skip
IMAGE, VISION_START, VISION_END = 4, 5, 6
FIRST_WORD = 8
WAYS = ("ours", "HF Trainer", "TRL SFTTrainer")
WARM_STEPS = 3


def configuration(shape: dict[str, Any]) -> Any:
    """The architecture's configuration, with its first tokens as markers of images."""
    from transformers import Qwen3VLConfig

    text = {
        **shape["text"], "max_position_embeddings": 262144, "tie_word_embeddings": True, "pad_token_id": 0,
        "bos_token_id": None, "eos_token_id": 1,
    }  # fmt: skip
    third = text["head_dim"] // 2 // 3
    text["rope_parameters"] = {
        "rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True,
        "mrope_section": [text["head_dim"] // 2 - 2 * third, third, third],
    }  # fmt: skip
    return Qwen3VLConfig(
        text_config=text,
        vision_config={**shape["vision"], "out_hidden_size": text["hidden_size"], "patch_size": 16},
        image_token_id=IMAGE, vision_start_token_id=VISION_START, vision_end_token_id=VISION_END, video_token_id=7,
        tie_word_embeddings=True,
    )  # fmt: skip


def make_samples(count: int, vocabulary: int, longest: int, seed: int = 0, small: bool = False) -> list[Encoded]:
    """A realistic mix: text of log-normal length (median 180 tokens, an answer of a third), no to four images.

    A fifth are text alone, 60% have one image, the others two to four; images have 49 to 1,024 visual tokens, in
    the proportions of photographs and slices. Pixels and words are random: no result depends on them.
    """
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        images = int(random.choice([0, 1, 2, 3, 4], p=[0.2, 0.6, 0.1, 0.05, 0.05]))
        scale = 0.1 if small else 1.0
        num_text = int(np.clip(random.lognormal(np.log(180 * scale), 0.9), 8, longest // 3))
        num_answer = max(2, num_text // 3)
        most = 4 if small else 32
        grids = [tuple(int(side) for side in random.integers(max(1, most // 4), most + 1, 2)) for _ in range(images)]
        while grids and sum(down * across for down, across in grids) + num_text + 2 * len(grids) > longest:
            grids.pop()
        pieces: list[Any] = []
        for down, across in grids:
            pieces += [[VISION_START], np.full(down * across, IMAGE), [VISION_END]]
        ids = np.concatenate([*pieces, random.integers(FIRST_WORD, vocabulary, num_text)]).astype(np.int64)
        labels = np.full(len(ids), IGNORED_LABEL, dtype=np.int64)
        labels[-num_answer - 1 : -1] = ids[-num_answer:]
        types = (ids == IMAGE).astype(np.int64)
        counts = tuple(down * across for down, across in grids)
        arrays: dict[str, Any] = {}
        if grids:
            patches = 4 * sum(counts)
            arrays["pixel_values"] = random.standard_normal((patches, 3 * 2 * 16 * 16), dtype=np.float32)
            arrays["image_grid_thw"] = np.array([(1, 2 * d, 2 * a) for d, a in grids], dtype=np.int64)
        positions = rope_positions(types, np.array(grids, dtype=np.int64).reshape(-1, 2))
        made.append(Encoded(f"s{number}", ids, labels, positions, types, counts, arrays))
    return made


def packed_rows(samples: list[Encoded], row_tokens: int) -> list[PackedBatch]:
    """Rows by best fit, in random order."""
    costs = np.array([[len(s), 4 * sum(s.visual_tokens), len(s.visual_tokens)] for s in samples], dtype=np.int64)
    packer = BestFit(row_tokens=row_tokens)
    packs = packer.group(costs, packer.budget)
    order = np.random.default_rng(1).permutation(len(packs))
    return [assemble([samples[int(i)] for i in packs[int(place)]]) for place in order]


class Made:
    """One row a step, made before the clock starts."""

    def __init__(self, rows: list[PackedBatch]) -> None:
        self.rows_, self.num_steps, self.plan_hash = rows, len(rows), f"made-{len(rows)}"

    def num_rows(self, step: int) -> int:
        return 1

    def row(self, step: int, index: int) -> PackedBatch:
        return self.rows_[step]

    def rows(self, step: int) -> list[PackedBatch]:
        return [self.rows_[step]]


def make_module(shape: dict[str, Any], device: str, dtype: torch.dtype, seed: int = 0) -> Any:
    """Random weights on the device."""
    from transformers import Qwen3VLForConditionalGeneration

    torch.manual_seed(seed)
    with torch.device(device):
        module = Qwen3VLForConditionalGeneration._from_config(
            configuration(shape), dtype=dtype, attn_implementation="sdpa"
        )
    return module.to(device)


def model_of(module: Any, dtype: str, device: str) -> TransformersModel:
    """Ours around a module; it has no checkpoint and so no encoder."""
    settings = OpeningSettings(dtype=dtype, device=device, attention="packed")
    return TransformersModel(module, None, settings, Path())  # type: ignore[arg-type]


def one_way(way: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train in this process: seconds a step after the first ``WARM_STEPS``, tokens, peak memory."""
    shape = SHAPES[arguments.shape]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    half = device == "cuda" or arguments.bf16
    dtype = torch.bfloat16 if half else torch.float32
    samples = make_samples(
        arguments.samples or shape["samples"], shape["text"]["vocab_size"], shape["row_tokens"],
        small=arguments.shape == "smoke",
    )  # fmt: skip
    rows = packed_rows(samples, shape["row_tokens"])
    module = make_module(shape, device, dtype)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    clock: list[float] = []

    def tick() -> None:
        if device == "cuda":
            torch.cuda.synchronize()
        clock.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if way == "ours":
            found = ours(module, rows, half, device, Path(folder), tick)
        else:
            per_step = max(1, round(len(samples) / len(rows)))
            found = theirs(way, module, samples, per_step, arguments.batch, half, device, Path(folder), tick)
    steps = np.diff(clock)[WARM_STEPS - 1 :]
    # What a step holds, beside how long it took: the first steps warm up and do not count.
    held = np.array(found.pop("steps"))[WARM_STEPS : len(clock)]
    if not len(steps):
        raise SystemExit(f"{len(clock)} steps are too few to leave out the first {WARM_STEPS}; give more --samples")
    peak = arguments.peak_flops or peak_flops(torch.device(device))
    seconds = float(steps.sum())
    tokens, supervised, operations, num = (float(held[:, column].sum()) for column in range(4))
    return {
        "way": way, "steps": len(steps), "seconds": seconds, "tokens_per_second": tokens / seconds,
        "supervised_tokens_per_second": supervised / seconds, "samples_per_second": num / seconds,
        "operations": operations, "mfu": operations / seconds / peak if peak else None,
        "peak_memory_bytes": peak_memory(torch.device(device)), "device": _device_name(device), **found,
    }  # fmt: skip


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def work_of(module: Any, device: str) -> FlopCounter:
    """Operations by arithmetic where all groups learn: the same figure for every way."""
    model = model_of(module, "bfloat16", device)
    groups = grouped_parameters(model)
    return FlopCounter(model, groups, set(groups))


def ours(module: Any, rows: list[PackedBatch], half: bool, device: str, folder: Path, tick: Any) -> dict[str, Any]:
    """The staged trainer over packed rows; attention by torch's varlen kernel on CUDA."""
    work = work_of(module, device)
    model = model_of(module, "bfloat16" if half else "float32", device)
    stage = {
        "name": "s", "learning_rate": 1e-5, "save_every": 10**6, "activation_checkpointing": True,
    }  # fmt: skip
    trainer = StagedTrainer(stages=(stage,), precision="bf16" if half else "fp32")

    def emit(kind: str, payload: Any) -> None:
        if kind == "log":
            tick()

    facts = trainer.train(
        model, Made(rows), trainer.stages[0], TrainingContext(directory=folder, seed=0, emit=emit)  # type: ignore[arg-type]
    )  # fmt: skip
    held = [(len(row), row.num_supervised, work.of(row, row.num_supervised), len(row.sample_ids)) for row in rows]
    return {"steps": held, "loss_kernel": facts["loss_kernel"], "padding_share": facts["padding_share"]}


def theirs(
    way: str,
    module: Any,
    samples: list[Encoded],
    per_step: int,
    batch: int | None,
    half: bool,
    device: str,
    folder: Path,
    tick: Any,
) -> dict[str, Any]:
    """HF Trainer or TRL over padded batches of as many samples as a packed row holds on average."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    work = work_of(module, device)
    held: list[tuple[float, float, float, float]] = []
    padding = [0, 0]

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            tick()

    def collate(places: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        chosen = [samples[int(place["place"])] for place in places]
        row = assemble(chosen)
        held.append((len(row), row.num_supervised, work.of(row, row.num_supervised), len(chosen)))
        found = padded(chosen)
        padding[0] += int(found["input_ids"].numel()) - len(row)
        padding[1] += int(found["input_ids"].numel())
        return found

    size = min(batch or per_step, per_step)
    accumulation = max(1, round(per_step / size))
    settings: dict[str, Any] = {
        "per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation,
        "use_cpu": device == "cpu", "bf16": half, "learning_rate": 1e-5,
        "remove_unused_columns": False, "gradient_checkpointing": True, "dataloader_drop_last": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
    }  # fmt: skip
    # Another stack's packed attention takes no mask: these train with transformers' own.
    module.set_attn_implementation("sdpa")
    if way == "HF Trainer":
        data: Any = [{"place": number} for number in range(len(samples))]
        arguments = training_arguments(folder, TrainingArguments, **settings)
        trainer = Trainer(model=module, args=arguments, train_dataset=data, data_collator=collate, callbacks=[Clock()])
    else:
        import datasets
        from trl import SFTConfig, SFTTrainer

        from infimed_plugins.vlm.vocabulary import train_tokenizer

        data = datasets.Dataset.from_dict({"place": list(range(len(samples))), "input_ids": [[1]] * len(samples)})
        options = {"max_length": None, "dataset_kwargs": {"skip_prepare_dataset": True}}
        trainer = SFTTrainer(
            model=module, args=training_arguments(folder, SFTConfig, **settings, **options), train_dataset=data,
            data_collator=collate, callbacks=[Clock()], processing_class=train_tokenizer(["a tokenizer"], 300),
        )  # fmt: skip
    trainer.train()
    each = np.array(held)
    each = each[: len(each) // accumulation * accumulation].reshape(-1, accumulation, 4).sum(axis=1)
    return {
        "steps": each.tolist(),
        "padding_share": padding[0] / padding[1],
        "batch": size,
        "accumulation": accumulation,
    }


def exactness(results: Results, arguments: argparse.Namespace) -> None:
    """Packed against alone: in fp32 on a shrunken copy, and in bf16 on this shape, beside bf16's own rounding."""
    shape = SHAPES[arguments.shape]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = verdict(configuration(shape))
    results.details["isolation in fp32"] = found.explanation
    results.target("packed against alone, fp32, shrunken", found.logits, "<= 1e-5")
    layers = {"text": {**shape["text"], "num_hidden_layers": min(4, shape["text"]["num_hidden_layers"])}}
    few = {**shape, **layers}
    samples = make_samples(6, shape["text"]["vocab_size"], 600, seed=3, small=True)
    logits = {}
    with torch.no_grad():
        for dtype in (torch.float32, torch.bfloat16):
            module = make_module(few, device, torch.float32).to(dtype).eval()
            model = model_of(module, "float32", device)
            head = model.output_embedding()

            def scores(row: PackedBatch, model: Any = model, head: Any = head) -> Any:
                return head(model.hidden_states(row)).float()

            logits[dtype, "packed"] = scores(assemble(samples))
            logits[dtype, "alone"] = torch.cat([scores(assemble([sample])) for sample in samples])
            del module, model
    scale = float(logits[torch.float32, "alone"].abs().max())
    packing = float((logits[torch.bfloat16, "packed"] - logits[torch.bfloat16, "alone"]).abs().max()) / scale
    rounding = float((logits[torch.bfloat16, "alone"] - logits[torch.float32, "alone"]).abs().max()) / scale
    exact = float((logits[torch.float32, "packed"] - logits[torch.float32, "alone"]).abs().max()) / scale
    print(f"packed against alone: fp32 {exact:.1e}, bf16 {packing:.1e}; bf16 against fp32, alone: {rounding:.1e}\n")
    results.target("packed against alone in bf16, over bf16's own rounding", packing / rounding, "<= 1.5")
    results.details["exactness"] = {"fp32": exact, "bf16": packing, "bf16 against fp32": rounding}


def run(results: Results, arguments: argparse.Namespace) -> None:
    """Every way in a process of its own, always in the same order, in rounds."""
    if arguments.smoke:
        arguments.shape = "smoke"
    exactness(results, arguments)
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    absent = [name for name in ("trl", "datasets") if importlib.util.find_spec(name) is None]
    ways = WAYS if not absent else WAYS[:-1]
    if absent:
        told = f"{' and '.join(absent)} not installed (pip install {' '.join(absent)})"
        results.details[f"{WAYS[-1]}, why not"] = told
        print(f"{WAYS[-1]} is left out: {told}\n")
    for _ in range(arguments.rounds):
        for way in ways:
            command = [sys.executable, str(Path(__file__).resolve()), "--way", way, "--shape", arguments.shape]
            command += ["--samples", str(arguments.samples)] if arguments.samples else []
            command += ["--peak-flops", str(arguments.peak_flops)] if arguments.peak_flops else []
            command += ["--batch", str(arguments.batch)] if arguments.batch else []
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no output"])[-1]
                print(f"{way} did not run: {last}")
                results.details[f"{way}, why not"] = last
                continue
            found[way].append(json.loads(done.stdout.strip().splitlines()[-1]))
    keys = ("tokens_per_second", "supervised_tokens_per_second", "samples_per_second", "mfu", "peak_memory_bytes")
    medians = {
        way: {key: statistics.median(one[key] for one in all_) if all_[0][key] is not None else None for key in keys}
        for way, all_ in found.items()
        if all_
    }
    rows = [
        [way, round(one["tokens_per_second"]), round(one["supervised_tokens_per_second"]),
         round(one["samples_per_second"], 1), "unknown" if one["mfu"] is None else round(one["mfu"], 4),
         round(one["peak_memory_bytes"] / 2**30, 2), round(found[way][0]["padding_share"], 3)]
        for way, one in medians.items()
    ]  # fmt: skip
    table(["way", "tokens/s", "supervised/s", "samples/s", "MFU", "peak GiB", "padding"], rows)
    for way in WAYS[1:] if not arguments.smoke else ():  # in so small a shape speed means nothing
        both = "ours" in medians and way in medians
        ratio = medians["ours"]["tokens_per_second"] / medians[way]["tokens_per_second"] if both else None
        results.target(f"{arguments.shape}: tokens/s over {way}", ratio, ">= 2")
    results.details["runs"] = found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this script."""
    parser.add_argument("--shape", choices=list(SHAPES), default="2b")
    parser.add_argument("--smoke", action="store_true", help="the smallest shape: does everything run here?")
    parser.add_argument("--samples", type=int, help="how many samples each way trains on")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--batch", type=int, help="samples in a padded batch of the others, where all of a step do not fit in memory"
    )
    parser.add_argument("--peak-flops", type=float, help="of the device, where the table does not know it")


def _child() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--bf16", action="store_true")
    chosen = parser.parse_args()
    print(json.dumps(one_way(chosen.way, chosen)))


if __name__ == "__main__":
    if "--way" in sys.argv:
        _child()
    else:
        main("gpu_training", run, add_arguments)
