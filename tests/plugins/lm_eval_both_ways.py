"""One tiny checkpoint asked the same benchmarks by lm-eval's own `hf` model and by our back-end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infimed_core import ComponentRef
from infimed_core.testing import run
from infimed_plugins.lm_eval.export import write_tasks
from infimed_plugins.vlm.vocabulary import CHAT_TEMPLATE, train_tokenizer

BENCHMARKS = ("mmlu-medical", "cmmlu", "pubmedqa")
WAYS = {"free": 6, "letters": 1}
"""Checkpoint -> new tokens: one says what it likes, one may only say a letter, so that answers are right and wrong."""


@dataclass(frozen=True)
class Outcome:
    """One question: its id, the answer and its value."""

    sample_id: str
    text: str
    value: float | None


@dataclass(frozen=True)
class Pair:
    """One question both ways."""

    ours: Outcome
    theirs: Outcome


def make_checkpoint(directory: Path, letters_alone: bool) -> Path:
    """A tiny Qwen3 with random weights, a tokenizer and a chat template."""
    import torch
    import transformers

    torch.set_num_threads(1)
    tokenizer = train_tokenizer(["Answer A B C D yes no Question Options the letter"] * 8, 400)
    tokenizer.chat_template = CHAT_TEMPLATE
    config = transformers.Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=2048, tie_word_embeddings=False, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, initializer_range=0.3,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = transformers.Qwen3ForCausalLM(config)
    if letters_alone:
        letters = [tokenizer.convert_tokens_to_ids(letter) for letter in "ABCD"]
        with torch.no_grad():  # every other token is as likely as the letters' mean, so the likeliest is a letter
            rows = module.lm_head.weight[letters].clone()
            module.lm_head.weight[:] = rows.mean(dim=0)
            module.lm_head.weight[letters] = rows
    module.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def ask_both_ways(data: Path, folder: Path) -> list[Pair]:
    """Every question of three benchmarks, to two checkpoints: by lm-eval (``hf``, chat template, greedy), by a run."""
    uses = [ComponentRef(use=name, **{"with": {"path": str(data / name)}}) for name in BENCHMARKS]
    tasks = write_tasks(folder / "tasks", uses)
    pairs = []
    for way, most_tokens in WAYS.items():
        checkpoint = make_checkpoint(folder / way, way == "letters")
        theirs = _ask_lm_eval(checkpoint, tasks, folder / "tasks", most_tokens)
        asked = [use.model_dump(by_alias=True) | {"generation": {"max_new_tokens": most_tokens}} for use in uses]
        document: dict[str, Any] = {
            "run": {"name": f"asked-{way}"},
            "model": {"use": "transformers", "with": {"checkpoint": str(checkpoint), "device": "cpu"}},
            "evaluation": {"benchmarks": asked},
        }
        run(document, folder)
        for use in uses:
            path = folder / f"runs/asked-{way}/answers/{use.use}--base.jsonl"
            lines = path.read_text(encoding="utf-8").splitlines()
            task = "infimed_" + use.use.replace("-", "_")
            samples = sorted(theirs["samples"][task], key=lambda sample: sample["doc_id"])
            for row, sample in zip(map(json.loads, lines), samples, strict=True):
                ours = Outcome(row["sample"]["id"], row["answer"]["text"].strip(), row["scores"]["strict"]["value"])
                read = None if sample["unscored"] else sample["accuracy"]
                other = Outcome(sample["doc"]["id"], sample["resps"][0][0].strip(), read)
                pairs.append(Pair(ours, other))
    return pairs


def _ask_lm_eval(checkpoint: Path, tasks: list[str], include: Path, most_tokens: int) -> dict[str, Any]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    return dict(
        lm_eval.simple_evaluate(
            model="hf",
            model_args={"pretrained": str(checkpoint), "dtype": "float32", "device": "cpu"},
            tasks=tasks,
            task_manager=TaskManager(include_path=str(include), include_defaults=False),
            apply_chat_template=True,
            gen_kwargs=f"max_gen_toks={most_tokens}",
            batch_size=1,
            bootstrap_iters=0,
        )
    )
