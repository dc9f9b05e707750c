"""Training: equal gradients, kills survived, freezing real, overhead over a bare loop, speed beside HF Trainer, TRL."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Results, main, needs, table
from gradients import NUM_SAMPLES, difference, equal_gradients, launch, make_checkpoint, make_samples, plain_gradients
from kills import survive_kills
from peers import against_hf, against_trl, demo_samples, padded, training_arguments

from infimed_core import MediaLoader, Stage, TrainingContext
from infimed_core.plan.index import build_index
from infimed_core.plan.planning import plan_stage
from infimed_core.plan.rows import PlannedBatches
from infimed_core.store.dataset import Dataset, write_samples
from infimed_plugins.image.modality import Image
from infimed_plugins.packing.fitting import BestFit
from infimed_plugins.resolution.schedulers import Fixed
from infimed_plugins.sft.trainer import StagedTrainer
from infimed_plugins.vlm.tiny import TinyQwen3VL


def gradients(results: Results, arguments: argparse.Namespace) -> None:
    """Our gradient for every split of a step, and HF Trainer's default on the same samples."""
    with tempfile.TemporaryDirectory() as folder:
        found = equal_gradients(Path(folder))
        expected = plain_gradients(Path(folder) / "checkpoint", NUM_SAMPLES)
        hf = hf_gradients(Path(folder), expected)
    rows = [[row["name"], f"{row['difference']:.1e}"] for row in found]
    rows += [[f"HF Trainer's default: {row['name']}", f"{row['difference']:.1e}"] for row in hf]
    table(["split of the step", "relative difference from the samples run alone"], rows)
    results.target("largest relative difference of gradients, fp32", max(row["difference"] for row in found), "<= 1e-5")
    results.details["gradients"] = found
    results.details["gradients of HF Trainer's default"] = hf


def hf_gradients(folder: Path, expected: dict[str, Any]) -> list[dict[str, Any]]:
    """How far HF Trainer's gradient of one step over the same samples is from theirs, with its default settings."""
    rows = []
    for processes in (1, 2):
        for accumulation in (1, 2, 4):
            target = folder / f"hf-{processes}-{accumulation}.safetensors"
            body = {"folder": str(folder), "processes": processes, "accumulation": accumulation, "target": str(target)}
            launch([sys.executable, str(Path(__file__).resolve()), "--hf-worker", json.dumps(body)], processes)
            from safetensors.torch import load_file

            name = f"{processes} process{'es' if processes > 1 else ''}, accumulation {accumulation}"
            rows.append({"name": name, "difference": difference(load_file(target), expected)})
    return rows


def hf_worker(body: dict[str, Any]) -> None:
    """One step of HF Trainer over all samples; the gradient before the optimizer's step goes into a file."""
    from safetensors.torch import save_file
    from transformers import AutoModelForImageTextToText, Trainer, TrainerCallback, TrainingArguments

    torch.set_num_threads(1)
    folder = Path(body["folder"])
    samples = make_samples(NUM_SAMPLES)
    encoder = make_checkpoint(folder / "checkpoint", samples).encoder(folder / "checkpoint")
    encoded = [encoder.encode(sample, images, None) for sample, images in samples]
    module = AutoModelForImageTextToText.from_pretrained(
        folder / "checkpoint", dtype=torch.float32, attn_implementation="sdpa"
    )

    class Keep(TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if args.process_index == 0:
                named = module.named_parameters()
                save_file({name: p.grad.clone() for name, p in named if p.grad is not None}, body["target"])

    settings = training_arguments(
        folder, TrainingArguments, max_grad_norm=0.0, max_steps=1, remove_unused_columns=False,
        gradient_accumulation_steps=body["accumulation"],
        per_device_train_batch_size=NUM_SAMPLES // (body["accumulation"] * body["processes"]),
        output_dir=f"{body['target']}-{'output'}",
    )  # fmt: skip
    Trainer(model=module, args=settings, train_dataset=encoded, data_collator=padded, callbacks=[Keep()]).train()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def kills(results: Results, arguments: argparse.Namespace) -> None:
    """``kill -9`` at random steps."""
    with tempfile.TemporaryDirectory() as folder:
        found = survive_kills(Path(folder), arguments.kills)
    results.target(f"weights bit-equal after {len(found['kills'])} kills", found["equal"], "== true")
    results.details["kills"] = found


def planned(folder: Path, count: int, row_tokens: int, **stage: Any) -> tuple[Any, Any, PlannedBatches]:
    """The demo's model and rows of its data: source, loaded model, batches."""
    samples = demo_samples(count, with_text_alone=True, seed=0)
    source = TinyQwen3VL(device="cpu")
    checkpoint = source.prepare(folder / "model", lambda: (t.text for s in samples for t in s.turns), 0)
    network = source.load(checkpoint)
    write_samples(folder / "samples.jsonl", samples)
    dataset, loader = Dataset(folder / "samples.jsonl"), MediaLoader({"image": Image()})
    index = build_index(dataset, network.encoder, loader)
    plan = plan_stage(
        index, Stage(name="s", **stage), Fixed(max_visual_tokens=9), BestFit(row_tokens=row_tokens), network.encoder,
        0, np.ones(len(dataset), dtype=bool),
    )  # fmt: skip
    return source, network, PlannedBatches(dataset, plan, network.encoder, loader)


def freezing(results: Results, arguments: argparse.Namespace) -> None:
    """After a stage with one trainable group its weights have moved, and every other weight is bit-equal."""
    changed_frozen = unmoved = 0
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source, _, batches = planned(Path(folder), 60, 600)
        checkpoint = Path(folder) / "model"
        for number, groups in enumerate(
            (["vision"], ["projector"], ["language"], ["embeddings"], ["projector", "language"])
        ):
            network = source.load(checkpoint)
            before = {name: p.detach().clone() for name, p in network.module.named_parameters()}
            stage = {"name": "s", "trainable": groups, "learning_rate": 1e-3}
            trainer = StagedTrainer(stages=(stage,))
            context = TrainingContext(directory=Path(folder) / str(number), seed=0, emit=lambda *_: None)
            trainer.train(network, batches, trainer.stages[0], context)
            after = dict(network.module.named_parameters())
            moved = {
                group: [not torch.equal(before[name], after[name]) for name in own if name in before]
                for group, own in network.parameter_groups().items()
            }
            changed_frozen += sum(sum(flags) for group, flags in moved.items() if group not in groups)
            unmoved += sum(not all(moved[group]) for group in groups)
            rows.append([" ".join(groups), *(f"{sum(flags)} of {len(flags)}" for flags in moved.values())])
    table(["trainable", *(f"{group} moved" for group in moved)], rows)
    results.target("tensors of frozen groups that changed", changed_frozen, "== 0")
    results.target("trainable groups with a tensor that did not move", unmoved, "== 0")
    results.details["freezing"] = rows


class Made:
    """Rows made before the clock starts."""

    def __init__(self, batches: PlannedBatches) -> None:
        self.plan_hash, self.num_steps = batches.plan_hash, batches.num_steps
        self._rows = [batches.rows(step) for step in range(batches.num_steps)]

    def num_rows(self, step: int) -> int:
        return len(self._rows[step])

    def row(self, step: int, index: int) -> Any:
        return self._rows[step][index]

    def rows(self, step: int) -> Any:
        return self._rows[step]


def bare_loop(network: Any, rows: Made) -> None:
    """What one would write by hand for these rows: forward, loss at supervised places, clip, step."""
    module = network.module.train()
    parameters = list(module.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    for step in range(rows.num_steps):
        for row in rows.rows(step):
            place = torch.from_numpy(np.flatnonzero(row.labels >= 0))
            hidden = network.hidden_states(row)
            logits = network.output_embedding()(hidden[place])
            torch.nn.functional.cross_entropy(logits, torch.from_numpy(row.labels)[place]).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    module.eval()


def overhead(results: Results, arguments: argparse.Namespace) -> None:
    """Seconds of the staged trainer over those of the bare loop, on the same rows, in turns; medians of rounds."""
    found: dict[str, list[tuple[float, float]]] = {"bare": [], "staged": []}
    with tempfile.TemporaryDirectory() as folder:
        _, network, batches = planned(Path(folder), 160, 1024)
        rows = Made(batches)
        trainer = StagedTrainer(stages=({"name": "s", "save_every": 10**6},))

        def staged() -> None:
            context = TrainingContext(directory=Path(folder) / "state", seed=0, emit=lambda *_: None)
            trainer.train(network, rows, trainer.stages[0], context)  # type: ignore[arg-type]

        for number in range(arguments.rounds * 3 + 1):
            for name, work in (("bare", lambda: bare_loop(network, rows)), ("staged", staged)):
                started, cpu = time.perf_counter(), time.process_time()
                work()
                if number:
                    found[name].append((time.perf_counter() - started, time.process_time() - cpu))
    ratios = {
        clock: statistics.median(
            staged_[place] / bare[place] for bare, staged_ in zip(found["bare"], found["staged"], strict=True)
        )
        - 1.0
        for place, clock in enumerate(("wall", "cpu"))
    }
    print(
        f"overhead over {rows.num_steps} steps: {ratios['wall']:+.2%} of seconds, {ratios['cpu']:+.2%} of CPU seconds\n"
    )
    results.target("overhead over a bare loop", ratios["wall"], "<= 0.05")
    results.details["overhead"] = {"steps": rows.num_steps, "ratios": ratios, "seconds and CPU seconds": found}


def operations(results: Results, arguments: argparse.Namespace) -> None:
    """Our count of operations against torch's own, for full and partial training and for LoRA."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source, network, batches = planned(Path(folder), 24, 600)
        made = [row for step in range(batches.num_steps) for row in batches.rows(step)]
        # Torch counts causal squares whole; ours leaves the masked half out.
        squares = sum(float((np.diff(row.cu_seqlens).astype(float) ** 2).sum()) for row in made)
        extra = 3 * 4 * source.layers * source.hidden_size * squares / 2
        kinds: dict[str, dict[str, Any]] = {
            "all": {}, "language": {"trainable": ["language"]}, "projector": {"trainable": ["projector"]},
            "lora, language": {"lora": {"rank": 8}},
        }  # fmt: skip
        for number, (name, settings) in enumerate(kinds.items()):
            network = source.load(Path(folder) / "model")
            trainer = StagedTrainer(stages=({"name": "s", **settings},))
            context = TrainingContext(directory=Path(folder) / str(number), seed=0, emit=lambda *_: None)
            with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
                facts = trainer.train(network, batches, trainer.stages[0], context)
            rows.append([name, float(facts["flops"] + extra) / counter.get_total_flops()])
    table(["trained", "ours over torch's"], rows)
    results.target("operations, largest deviation from torch's count", max(abs(row[1] - 1) for row in rows), "<= 0.02")
    results.details["operations"] = rows


def hf(results: Results, arguments: argparse.Namespace) -> None:
    """Ours beside HF Trainer with a padding collator."""
    against_hf(results, arguments.samples, arguments.questions, arguments.rounds)


def trl(results: Results, arguments: argparse.Namespace) -> None:
    """Ours beside TRL's SFTTrainer."""
    against_trl(results, arguments.samples, arguments.questions, arguments.rounds)


PARTS = {"gradients": gradients, "kills": kills, "freezing": freezing, "operations": operations, "overhead": overhead}
PARTS |= {"hf": hf, "trl": trl}


def run(results: Results, arguments: argparse.Namespace) -> None:
    """Every part that was asked for."""
    if "trl" in (arguments.only or PARTS):
        needs({"trl": "trl", "datasets": "datasets"}, "the part trl (--only leaves it out)")
    torch.set_num_threads(arguments.threads)
    for name in arguments.only or PARTS:
        print(f"== {name}")
        PARTS[name](results, arguments)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this script."""
    parser.add_argument("--only", choices=list(PARTS), action="append", help="measure this part alone; may be repeated")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--samples", type=int, default=4000, help="samples that each way beside ours trains on")
    parser.add_argument("--questions", type=int, default=300, help="held-out questions")
    parser.add_argument("--rounds", type=int, default=1, help="how often each way trains, in turns")
    parser.add_argument("--threads", type=int, default=1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--hf-worker"]:
        hf_worker(json.loads(sys.argv[2]))
    else:
        main("training", run, add_arguments)
