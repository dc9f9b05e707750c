"""Damage of the same size in what a run keeps is found; the error names the file and the command that mends it."""

import json
import re
import shutil
from pathlib import Path

import pytest

from infimed_core import InfimedError
from infimed_core.named_files import digest_of_file
from infimed_core.testing import make_image, make_sample, run


def document(source: Path) -> dict:
    return {
        "run": {"name": "r"},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(source)}}], "executor": {"use": "serial"}},
        "quality": {
            "scorers": [{"use": "five-dimension"}],
            "select": {"use": "top-share", "with": {"keep": 0.5}},
        },
        "model": {"use": "constant", "with": {"text": "yes"}},
        "evaluation": {"benchmarks": [{"use": "demo-text"}], "limit": 3},
        "report": [{"use": "terminal"}],
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a run that has ended well."""
    folder = tmp_path_factory.mktemp("finished")
    rows = [make_sample(f"s{n}", f"Which plane is number {n}?", images=[make_image(seed=n)]) for n in range(6)]
    (folder / "samples.jsonl").write_text("\n".join(row.model_dump_json() for row in rows) + "\n")
    run(document(folder / "samples.jsonl"), folder)
    return folder


def kept(folder: Path) -> list[str]:
    """Every file of every step, but for the seals, which are checked by the steps' digests."""
    root = folder / "runs" / "r" / "artifacts"
    files = [path for path in root.rglob("*") if path.is_file() and path.name != "artifact.json"]
    return sorted(path.relative_to(folder).as_posix() for path in files if path.stat().st_size)


def flip(file: Path, place: float) -> None:
    content = bytearray(file.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    file.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("place", [0.0, 0.5])
def test_one_bit_of_any_kept_file_is_found_and_the_named_command_mends_it(
    tmp_path: Path, finished: Path, place: float
) -> None:
    source = finished / "samples.jsonl"
    whole = json.loads((finished / "runs" / "r" / "run.json").read_text())
    names = kept(finished)
    assert len(names) > 10
    mended: list[str] = []
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        shutil.copytree(finished / "runs", folder / "runs")
        flip(folder / name, place)
        try:
            run(document(source), folder)
        except InfimedError as error:
            assert str(folder / name) in str(error)
            command = re.search(r"`rm -r (.*?)`", str(error))
            assert command is not None
            shutil.rmtree(command[1])
        else:
            mended.append(name)
            written = json.loads((folder / name).read_text())  # a page that is written anew has other times in it
            assert written.keys() == json.loads((finished / name).read_text()).keys()
            assert all(digest_of_file(folder / "runs" / "r" / file) == known for file, known in written.items())
        assert run(document(source), folder).model_dump(mode="json")["results"] == whole["results"], name
    assert all("/report-" in name for name in mended)  # a page is written anew whenever its list cannot be read
