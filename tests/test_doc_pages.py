"""Every code block and every command of every page does what the page says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from pages import NOT_RUN, PAGES, ROOT, PageRun, blocks, commands, reason_not_to_run

from infimed_core.testing import make_image, run

TALK = {"conversations": [{"from": "human", "value": "<image>Which organ?"}, {"from": "gpt", "value": "A lung."}]}
QUESTION = {"id": "q1", "turns": [{"role": "user", "content": ["Is it?"]}, {"role": "assistant", "content": ["Yes"]}]}
OWN_TESTS = {"plugins/README.md": "tests/test_docs.py", "docs/operating.md": "tests/test_operating.py"}
"""Pages whose blocks another test runs."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server of OpenAI's interface, a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("openai_server.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with small finished runs of the names that the pages use."""
    folder = tmp_path_factory.mktemp("finished")
    models = {
        "base": {"use": "constant", "with": {"text": "B"}},
        "medical": {"use": "random"},
        "mine": {"use": "random"},
    }
    document = {
        "run": {"name": "full"},
        "data": {"sources": [{"use": "demo-anatomy", "with": {"max_images": 8, "include_text": False}}]},
        "quality": {"scorers": [{"use": "five-dimension"}]},
        "models": models,
        "evaluation": {
            "models": list(models),
            "benchmarks": [{"use": "demo-vqa", "with": {"max_samples": 6}}, {"use": "demo-text"}],
        },
        "report": [{"use": "html"}],
    }
    run(document, folder)
    for name in ("one", "two"):  # what the same run file would make under their names
        shutil.copytree(folder / "runs" / "full", folder / "runs" / name)
        for file in ("run.json", "events.jsonl"):
            path = folder / "runs" / name / file
            path.write_text(path.read_text().replace('"full"', f'"{name}"').replace("runs/full", f"runs/{name}"))
    return folder


def case() -> object:
    """The case that docs/mdt.md shows."""
    (block,) = (one for one in blocks(ROOT / "docs" / "mdt.md") if one.language == "json")
    return json.loads(block.text)


def prepare(directory: Path, finished: Path) -> None:
    """The files that pages speak of: data, questions, answers, runs."""
    shutil.copytree(finished / "runs", directory / "runs")
    earlier = directory / "runs" / "first" / "checkpoints" / "medical-0123456789ab"  # of continue_from
    earlier.mkdir(parents=True)
    (earlier / "config.json").write_text("{}")
    for name in ("tests", "examples", "schemas"):
        (directory / name).symlink_to(ROOT / name)
    images = directory / "data" / "images"
    images.mkdir(parents=True)
    for number in range(4):
        (images / f"{number}.png").write_bytes(make_image(seed=number))
    rows = [{"id": str(number), "image": f"{number}.png", **TALK} for number in range(4)]
    for name in ("train.json", "test.json", "xrays.json", "labelled.json"):
        (directory / "data" / name).write_text(json.dumps(rows))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    for name in ("train.jsonl", "xrays.jsonl", "rows.jsonl", "mixture.jsonl", "medical.jsonl"):
        (directory / "data" / name).write_text(lines)
    question = json.dumps(QUESTION) + "\n"
    for name in ("questions", "train", "all", "rows", "studies", "pairs", "labelled"):
        (directory / f"{name}.jsonl").write_text(question)
    for name in ("theirs.jsonl", "ours.jsonl"):
        (directory / name).write_text(json.dumps({"id": "q1", "text": "Yes"}) + "\n")
    (directory / "my-cases.jsonl").write_text(json.dumps(case()) + "\n")
    (directory / "images").symlink_to(images)
    (images / "chest.png").write_bytes(make_image())
    for folder in ("pmc_vqa/images", "rad", "roco"):
        (directory / "data" / folder).mkdir(parents=True)
    (directory / "data" / "pmc_vqa" / "rows.json").write_text(json.dumps(rows))
    (directory / "data" / "roco.csv").write_text("file_name,caption,modality\n0.png,A lung.,X-ray\n")
    table = {"image": [make_image()], "question": ["Which?"], "answer": ["A lung."], "modality": ["X-ray"]}
    pq.write_table(pa.table(table), directory / "data" / "rad" / "rows.parquet")
    for folder in ("scans", "my-data"):
        shutil.copytree(images, directory / folder / "images")
    for name in ("train.csv", "test.csv"):
        lines_of = [f"images/{number}.png,Which organ of the {name[:-4]} set?,A lung." for number in range(4)]
        (directory / "my-data" / name).write_text("\n".join(["image,question,answer", *lines_of]) + "\n")
    stages = [{"name": "medical", "learning_rate": 1e-4}]
    source = {"use": "llava", "with": {"path": "data/train.json", "image_root": "data/images"}}
    document = {
        "run": {"name": "preview"},
        "data": {"sources": [source]},
        "model": {"use": "tiny-qwen3-vl"},
        "packing": {"use": "best-fit", "with": {"row_tokens": 256}},
        "training": {"use": "staged", "with": {"stages": stages}},
    }
    (directory / "run.yaml").write_text(yaml.safe_dump(document))
    kit = ROOT / "tests" / "fixtures" / "medevalkit"
    for folder in sorted((kit / "data").iterdir()):
        (directory / "data" / folder.name).symlink_to(folder)
    (directory / "eval_results").symlink_to(kit / "kit_runs")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_does_what_the_page_says(page: Path, tmp_path: Path, server: str, finished: Path) -> None:
    if str(page.relative_to(ROOT)) in OWN_TESTS:
        return
    if "tutorials" not in page.parts or page.name == "coming-from.md":
        prepare(tmp_path, finished)
    PageRun(page, tmp_path, server).run()


def test_every_exception_is_used_and_has_a_reason() -> None:
    every = [command for page in PAGES for block in blocks(page) if block.language in ("sh", "bash", "console")
             for command in commands(block.text)]  # fmt: skip
    assert all(len(reason) > 15 for reason in NOT_RUN.values())
    assert [start for start in NOT_RUN if not any(command.startswith(start) for command in every)] == []
    assert sum(reason_not_to_run(command) is None for command in every) >= 40


def test_every_block_says_its_language() -> None:
    known = {"sh", "bash", "python", "yaml", "json", "toml", "text", "console"}
    wrong = [(page.name, block.line) for page in PAGES for block in blocks(page) if block.language not in known]
    assert wrong == []
