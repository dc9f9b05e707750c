"""A distribution that is not ours, installed by pip beside our wheel, takes part in a run by name."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[1]
PIP = ["-m", "pip", "--disable-pip-version-check", "--no-input", "-q"]


def call(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run ``command`` with nothing added to where Python looks for modules."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(  # type: ignore[call-overload]
        [str(part) for part in command], capture_output=True, text=True, env=environment, **options
    )
    assert done.returncode == options.get("expect", 0), done.stdout + done.stderr
    return done


def built(source: Path, shared: Path) -> Path:
    """The wheel of a source, built once for all worker processes and all files of tests, which wait for each other."""
    target = shared / f"wheel-{source.name}"
    with FileLock(f"{target}.lock"):
        if not (target / "done").exists():
            shutil.rmtree(target, ignore_errors=True)
            call(sys.executable, *PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", target, source)
            (target / "done").touch()
    (wheel,) = target.glob("*.whl")
    return wheel


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all worker processes of pytest-xdist."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def install(python: Path, *arguments: object) -> None:
    """``pip install`` into another environment, from files alone."""
    call(sys.executable, *PIP, "--python", python, "install", "--no-deps", "--no-index", *arguments)


def fresh_environment(place: Path, *wheels: Path) -> Path:
    """The interpreter of a new environment without pip that has ``wheels``; the dependencies are those of this one."""
    call(sys.executable, "-m", "venv", "--without-pip", place)
    python = place / "bin" / "python"
    install(python, *wheels)
    packages = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    (Path(packages) / "dependencies.pth").write_text("\n".join(p for p in sys.path if "-packages" in p) + "\n")
    return python


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    shared = shared_folder(tmp_path_factory)
    return [built(source, shared) for source in (ROOT, ROOT / "tests" / "third_party" / "infimed_pgm")]


@pytest.fixture(scope="module")
def python(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment that has our wheel and the outside one; the dependencies are those of this environment."""
    return fresh_environment(tmp_path_factory.mktemp("environment"), *wheels)


def test_wheel_holds_the_two_packages_and_nothing_else(wheels: list[Path]) -> None:
    (wheel,) = [path for path in wheels if path.name.startswith("infimed-0")]
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"infimed_core", "infimed_plugins"}


def test_installed_wheel_checks_the_full_example_outside_the_checkout(python: Path, tmp_path: Path) -> None:
    done = call(python.parent / "infimed", "check", ROOT / "examples" / "full.yaml", cwd=tmp_path)
    assert ": ok" in done.stdout
    where = call(python, "-c", "import infimed_core; print(infimed_core.__file__)", cwd=tmp_path).stdout
    assert str(ROOT) not in where


def test_outside_modality_and_metric_take_part_in_a_run(python: Path, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 4096, (64, 80)).astype(">u2")
    (tmp_path / "scan.pgm").write_bytes(b"P5\n# a scan\n80 64\n4095\n" + picture.tobytes())
    sample = {
        "id": "one",
        "turns": [{"role": "user", "content": [0, "Modality?"]}, {"role": "assistant", "content": ["MG"]}],
        "media": [{"kind": "pgm", "uri": str(tmp_path / "scan.pgm")}],
        "tags": {"modality": "mammography"},
    }
    (tmp_path / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    document = {
        "run": {"name": "outside", "plugins": ["pgm"], "directory": str(tmp_path / "runs")},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(tmp_path / "samples.jsonl")}}]},
        "quality": {"scorers": [{"use": "five-dimension"}]},
        "model": {"use": "constant", "with": {"text": "A"}},
        "evaluation": {"benchmarks": [{"use": "demo-text", "metrics": ["accuracy", "median-score"]}], "limit": 20},
    }
    (tmp_path / "run.yaml").write_text(json.dumps(document))
    call(python.parent / "infimed-run", tmp_path / "run.yaml", cwd=tmp_path)
    record = json.loads((tmp_path / "runs" / "outside" / "run.json").read_text())
    assert record["status"] == "done"
    assert {"name": "pgm", "distribution": "infimed-pgm", "version": "1.2.0"} in record["plugins"]
    assert "median-score" in record["results"][0]["metrics"]
    score = next(step for step in record["steps"] if step["name"] == "score")
    assert score["details"]["status"].get("error", 0) == 0, "the outside modality opened its file"


def test_outside_scorer_is_validated_by_name(python: Path, tmp_path: Path) -> None:
    done = call(
        python.parent / "infimed", "validate-scorer", "--scorer", "full-stop", "--json",
        "--corruptions", "cut_text,noise", "--severities", "3", cwd=tmp_path,
    )  # fmt: skip
    found = json.loads(done.stdout)["corruptions"]
    assert found["cut_text"]["auroc"]["3"] == 1.0, "it sees that the end is gone"
    assert found["noise"]["auroc"]["3"] == 0.5, "and nothing of a picture"
