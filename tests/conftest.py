"""Settings that every test shares: property tests draw the same examples on every machine, however slow it is."""

import os
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `infimed-run` does: two workers share the cores

hypothesis.settings.register_profile(
    "infimed",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("infimed")


@pytest.fixture
def data_of_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current directory in which the files that the examples and documents read are there."""
    root = Path(__file__).parents[1]
    monkeypatch.chdir(tmp_path)
    for name in ("tests", "examples"):
        (tmp_path / name).symlink_to(root / name)
    (tmp_path / "data" / "images").mkdir(parents=True)
    for name in ("mixture.jsonl", "medical.jsonl", "train.json", "test.json"):
        (tmp_path / "data" / name).touch()
