"""The code of the documents, run page by page: each page in a directory of its own, its blocks in their order.

A fence with a title is a file that is written; ``sh`` is run; ``python`` without a title is run; ``yaml`` is checked as
a run file or as a part of one; ``json`` and ``toml`` are parsed. What cannot run is listed below, with its reason.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked
import yaml

from infimed_core import load_plugins
from infimed_core.runfile.loading import load_run_file
from infimed_core.runfile.sections import RunFile

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *(ROOT / folder / "README.md" for folder in ("plugins", "benchmarks", "examples")),
    ]
)
NOT_RUN = {
    "pip install": "installs packages; tests run offline in an environment where all of them are",
    "vllm serve": "needs vLLM and a GPU; a server of the same interface stands at its address in the tests",
    "transformers serve": "tests/plugins/test_endpoint_serve.py starts one with a small checkpoint",
    "torchrun": "several processes; tests/plugins/test_sft_ranks.py starts them",
    "accelerate launch": "several processes; tests/plugins/test_sft_ranks.py starts them",
    "docker": "needs a Docker daemon",
    "make": "installs everything into an environment of its own; `.ci/run` does it",
    "git clone": "downloads from the network",
    "lm-eval run": "tests/plugins/test_lm_eval.py runs it with a small checkpoint",
    "python -m pytest benchmarks/": "a measurement of minutes; its dated result is committed",
    "python benchmarks/": "a measurement of minutes to hours; its dated result is committed",
    "infimed-run examples/": "tests of their own run the examples",
    "infimed sweep examples/": "trains for an hour; tests/plugins/reporting run a sweep of the same kind in small",
    "infimed doctor": "needs a checkpoint of a real size; tests/plugins/test_vlm.py runs it on small ones",
    "infimed serve": "serves until it is stopped; tests/plugins/reporting ask it",
    "infimed validate-scorer": "minutes of computing; tests/plugins/test_quality_validation.py runs it in small",
}
"""Beginnings of commands that no page's test runs, each with its reason."""
NOT_CHECKED = {
    "en:": "a file of templates, not a run file",
    "sources:": "a table of published figures, not a run file",
    "swift sft": "a script of ms-swift",
    "EVAL_DATASETS": "a script of MedEvalKit",
    "lm_eval --model": "a command of lm-eval",
    "project_name": "a recipe of Data-Juicer",
    "#SBATCH": "a script of Slurm",
    "model:\n  use: transformers\n  with: {checkpoint: runs/lora": "names a checkpoint that only a training makes",
    "model:\n  use: vllm": "needs the package vllm",
    'data:\n  sources:\n    - use: jsonl\n      with: {path: "s3:': "needs s3fs and a bucket",
}
"""Beginnings of blocks that are not looked at, each with its reason."""
FENCE = re.compile(r'^( *)```(\w*)(?: (?:title="([^"]+)"|file=(\S+)))?[^\n]*\n(.*?)^ *```$', re.S | re.M)
SERVER = "127.0.0.1:8000"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str | None
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent, language, title, file, body = match.groups()
        body = re.sub(rf"^{indent}", "", body, flags=re.M)
        found.append(Block(language, title or file, body, text[: match.start()].count("\n") + 1))
    return found


def commands(text: str) -> list[str]:
    """The commands of a block, continued lines joined, without comments."""
    joined = re.sub(r"\\\n\s*", "", text)
    lines = [re.sub(r"\s{2,}#.*", "", line).strip() for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def reason_not_to_run(command: str) -> str | None:
    """Why a command is not run; ``None`` where it is."""
    return next((reason for start, reason in NOT_RUN.items() if command.startswith(start)), None)


def finish(
    argv: Sequence[str], shown: str, folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command, or what a page shows as one, to its end."""
    if (program := own_program(argv, shown)) is not None:
        return forked.finish(program, environment, folder)
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def own_program(argv: Sequence[str], shown: str) -> list[str] | None:
    """What to hand to Python where a command is ours, or Python, in plain words; ``None`` where a shell reads it.

    The process is forked from one that has imported what most commands need.
    """
    if argv[0] == sys.executable:
        return list(argv[1:])
    if re.search(r"[|&;<>()$`\\*?~\[\]{}!]", shown):
        return None
    program, *rest = shlex.split(shown)
    if program == "python":
        return rest
    script = Path(sys.executable).with_name(program)
    return [str(script), *rest] if program in ("infimed", "infimed-run") and script.is_file() else None


class PageError(AssertionError):
    """A block that does not do what its page says."""


class PageRun:
    """The blocks of a page, done one after the other in a directory."""

    def __init__(self, page: Path, directory: Path, server: str = SERVER) -> None:
        self.page, self.directory, self.server = page, directory, server
        scripts = Path(sys.executable).parent
        self.environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}", "COLUMNS": "160"}
        self.num_run = 0

    def run(self) -> None:
        """Do every block."""
        for block in blocks(self.page):
            text = block.text.replace(SERVER, self.server)
            if block.title:
                path = self.directory / block.title
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            try:
                self._do(block, text)
            except PageError as failure:
                raise PageError(f"{self.page.relative_to(ROOT)}:{block.line}: {failure}") from None

    def _do(self, block: Block, text: str) -> None:
        if text.lstrip().startswith(tuple(NOT_CHECKED)) or block.language in ("text", ""):
            return
        if block.language in ("sh", "bash", "console"):
            for command in commands(text):
                if reason_not_to_run(command) is None:
                    self._command(command)
        elif block.language == "python" and not block.title:
            self._finish([sys.executable, "-c", text], text)
        elif block.language == "json":
            _parse_json(text)
        elif block.language == "toml":
            tomllib.loads(text)
        elif block.language == "yaml" and (not block.title or "run:" in text):
            self._yaml(text)

    def _command(self, command: str) -> None:
        self._finish(["bash", "-ec", command], command)

    def _finish(self, argv: list[str], shown: str) -> None:
        done = finish(argv, shown, self.directory, self.environment)
        self.num_run += 1
        if done.returncode or "Traceback" in done.stderr:
            raise PageError(f"exit code {done.returncode}: {shown}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")

    def _yaml(self, text: str) -> None:
        document = yaml.safe_load(text)
        whole = completed(document)
        if whole is None:
            raise PageError(f"neither a run file nor a part of one:\n{text}")
        file = self.directory / "block.yaml"
        file.write_text(text if document is whole else yaml.safe_dump(whole), encoding="utf-8")
        before = Path.cwd()
        os.chdir(self.directory)
        try:
            load_run_file(file, load_plugins())
        except Exception as error:
            raise PageError(f"{error}\n{text}") from None
        finally:
            os.chdir(before)


def _parse_json(text: str) -> None:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        for line in text.splitlines():
            json.loads(line)


def completed(document: Any) -> dict[str, Any] | None:
    """A whole run file around a part of one; ``None`` where it is no part."""
    if isinstance(document, list):
        document = _of_list(document)
    if isinstance(document, dict) and set(document) == {"mix"}:
        document = _of_list([{"name": "part", **document}])
    if not isinstance(document, dict) or not set(document) <= set(RunFile.model_fields):
        return None
    if "run" in document:
        return document
    small: dict[str, Any] = {"run": {"name": "part"}, "data": {"sources": [{"use": "demo-anatomy"}]}}
    if document.keys() & {"training", "evaluation"}:
        small["model"] = {"use": "tiny-qwen3-vl"}
    if "training" in document:
        small["evaluation"] = {"benchmarks": [{"use": "demo-vqa"}]}
    asked = ("judge", "large", "mine", "small")
    if "models" in document or any(f"'{name}'" in str(document) for name in asked):
        small["models"] = {name: {"use": "constant"} for name in asked}
    return small | document | ({"models": small["models"] | document["models"]} if "models" in document else {})


def _of_list(items: list[Any]) -> dict[str, Any] | None:
    """Sources, benchmarks or stages, by what they hold."""
    if not all(isinstance(item, dict) for item in items):
        return None
    if all("use" not in item for item in items):
        return {"training": {"use": "staged", "with": {"stages": items}}}
    names = {name.rpartition("/")[2] for name in load_plugins().components("reader")}
    if all(item["use"] in names for item in items):
        return {"data": {"sources": items}}
    return {"evaluation": {"benchmarks": items}}
