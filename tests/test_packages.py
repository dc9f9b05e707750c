"""What is shipped is complete: examples and schemas are in the wheel, and the images can be built."""

import os
import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.test_third_party import built, shared_folder

ROOT = Path(__file__).parents[1]


def has_docker() -> bool:
    """Whether images may be built here: it takes minutes and gigabytes, so it is asked for."""
    if os.environ.get("INFIMED_TEST_IMAGES") != "1" or shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


IMAGES = sorted((ROOT / "docker").glob("*.Dockerfile"))


@pytest.mark.slow
def test_the_wheel_carries_every_example_and_schema(tmp_path_factory: pytest.TempPathFactory) -> None:
    wheel = built(ROOT, shared_folder(tmp_path_factory))
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in ("examples", "schemas"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert files and not [
            path for path in files if f"infimed_plugins/operations/{path.relative_to(ROOT)}" not in names
        ]


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.name)
def test_an_image_names_what_exists_pins_its_base_and_runs_as_a_user(image: Path) -> None:
    text = image.read_text(encoding="utf-8").replace("\\\n", " ")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    known = {"FROM", "ENV", "COPY", "RUN", "USER", "WORKDIR", "STOPSIGNAL", "CMD"}
    assert {line.split()[0] for line in lines} <= known and lines[0].startswith("FROM ")
    base = lines[0].split()[1]
    assert re.fullmatch(r"[\w./-]+:[\w.-]+", base) and not base.endswith(":latest")
    extras = [name for found in re.findall(r"/source\[([\w,-]+)\]", text) for name in found.split(",")]
    assert extras and set(extras) <= set(project["optional-dependencies"])
    assert all("-c /source/constraints.txt" in part for part in re.findall(r"pip install[^&]*", text))
    assert [line for line in lines if line.startswith("USER")][-1] != "USER root"
    assert re.search(r'CMD \["infimed', text)  # no shell between a signal and the run


@pytest.mark.slow
@pytest.mark.skipif(not has_docker(), reason="needs Docker, a network and INFIMED_TEST_IMAGES=1")
@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.name)
def test_an_image_is_built_and_lists_its_examples(image: Path) -> None:
    tag = f"infimed-test:{image.stem.lower()}"
    subprocess.run(["docker", "build", "-f", image, "-t", tag, ROOT], check=True)
    done = subprocess.run(
        ["docker", "run", "--rm", tag, "infimed", "example"], check=True, capture_output=True, text=True
    )
    assert "full" in done.stdout
