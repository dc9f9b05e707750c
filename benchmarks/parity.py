"""Parity: differences planted between a checkpoint and a real server, and what ``infimed parity`` calls them.

    python benchmarks/parity.py --json OUT.json

starts ``transformers serve`` (``pip install 'transformers[serving]'``) on this machine, changes one thing at a time in
a copy of a small checkpoint, serves the copy, and compares. Each difference is looked for twice: with the served
directory known, as on one machine, and by counts and answers alone, as with a server far away.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "plugins"))
import torch
from common import Results, main, needs, table
from safetensors.torch import load_file, save_file
from test_endpoint_serve import Served, make_checkpoint
from test_parity import an_adapter, edit, in_bfloat16, larger_images, other_pad_token, run, system_in_template

Change = Callable[[Path], None]


def _template(old: str, new: str) -> Change:
    def change(copy: Path) -> None:
        file = copy / "chat_template.jinja"
        text = file.read_text(encoding="utf-8")
        if old not in text:
            raise SystemExit(f"the chat template holds no {old!r}")
        file.write_text(text.replace(old, new), encoding="utf-8")

    return change


def _processor(**settings: Any) -> Change:
    """Settings of the image processor, in whichever of its files there are."""

    def change(copy: Path) -> None:
        for name in ("preprocessor_config.json", "processor_config.json"):
            if (copy / name).is_file():
                edit(copy, name, lambda body: body.get("image_processor", body).update(settings))

    return change


def _weights(change: Callable[[str, Any], Any], dtype: str = "") -> Change:
    def made(copy: Path) -> None:
        weights = {name: change(name, tensor) for name, tensor in load_file(copy / "model.safetensors").items()}
        save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
        if dtype:
            parts = ("text_config", "vision_config")
            edit(copy, "config.json", lambda body: [p.update(dtype=dtype) for p in (body, *map(body.get, parts))])

    return made


def _disturbed(name: str, tensor: Any) -> Any:
    noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(len(name)))
    return tensor + 0.05 * noise.to(tensor.dtype)


def _eos(copy: Path) -> None:
    edit(copy, "tokenizer_config.json", lambda body: body.update(eos_token="<|im_start|>"))


PLANTED: dict[str, tuple[Change | None, str, bool]] = {
    "nothing": (lambda copy: None, "", True),
    "a system line in the template": (system_in_template, "template", True),
    "a template without the line after a role": (_template("message.role + '\\n'", "message.role"), "template", True),
    "a template with other marks of turns": (_template("<|im_end|>", "<|im_end|><|im_end|>"), "template", True),
    "another pad token": (other_pad_token, "pad token", False),
    "another end token": (_eos, "eos token", False),
    "images of twice the side": (larger_images, "image size", True),
    "another mean of pixels": (_processor(image_mean=[0.1, 0.2, 0.3]), "image processing", True),
    "another spread of pixels": (_processor(image_std=[0.1, 0.1, 0.1]), "image processing", True),
    "weights in bfloat16": (in_bfloat16, "dtype", True),
    "weights in float16": (_weights(lambda name, tensor: tensor.half(), "float16"), "dtype", True),
    "other weights": (_weights(_disturbed), "weights", True),
    "an adapter not loaded": (None, "adapter not loaded", True),
}
"""What is planted: the change, what it is to be called, and whether answers can show it at all."""


def compared(checkpoint: Path, server: Served, served: Path, nowhere: Path | None) -> list[str]:
    """What parity finds; with the served files unknown where ``nowhere`` is given."""
    arguments = ["parity", str(checkpoint), "--server", server.url, "--model", str(served), "--json"]
    done = run(*arguments, *(["--served", str(nowhere)] if nowhere else []))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return [finding["kind"] for finding in json.loads(done.stdout)["findings"]]


def measure(results: Results, arguments: argparse.Namespace) -> None:
    """Plant each difference, and count those that are found and called by their names."""
    needs({"fastapi": "transformers[serving]", "uvicorn": "transformers[serving]"}, "parity")
    torch.set_num_threads(arguments.threads)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        checkpoint, nowhere = make_checkpoint(directory), directory / "nowhere"
        nowhere.mkdir()
        server = Served(checkpoint, directory / "server.log", pinned=False)
        server.start()
        try:
            server.wait_until_ready()
            for number, (name, (change, kind, shows)) in enumerate(PLANTED.items()):
                mine, served = checkpoint, directory / f"served-{number}"
                if change is None:
                    mine, served = an_adapter(checkpoint, directory / "adapter"), checkpoint
                else:
                    shutil.copytree(checkpoint, served)
                    change(served)
                found = [compared(mine, server, served, None), *([compared(mine, server, served, nowhere)] * shows)]
                rows.append([name, kind or "no difference", *(", ".join(kinds) or "no difference" for kinds in found)])
                print(rows[-1], flush=True)
        finally:
            server.kill()
    rows = [row if len(row) == 4 else [*row, "(no answer shows it)"] for row in rows]
    table(["planted", "its name", "files known", "answers alone"], rows)
    results.details["planted"] = [dict(zip(("planted", "name", "files known", "answers alone"), r, strict=True)) for r in rows]  # fmt: skip  # noqa: E501
    planted = [row for row in rows if row[1] != "no difference"]
    results.target("differences planted", len(planted), ">= 5")
    results.target("not named, files known", sum(row[1] not in row[2].split(", ") for row in planted), "== 0")
    shown = [row for row in planted if not row[3].startswith("(")]
    results.target(f"not named, by answers alone, of {len(shown)}", sum(row[1] != row[3] for row in shown), "== 0")
    results.target("found where nothing is planted", sum(cell != "no difference" for cell in rows[0][2:]), "== 0")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this script."""
    parser.add_argument("--threads", type=int, default=1)


if __name__ == "__main__":
    main("parity", measure, add_arguments)
