"""Settings that every test shares: property tests draw the same examples on every machine, however slow it is."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import forked
import order

if "HF_HUB_CACHE" not in os.environ:  # none of what this machine has downloaded; workers take that of their parent
    os.environ["HF_HUB_CACHE"] = tempfile.mkdtemp(prefix="infimed-hub-")
    atexit.register(shutil.rmtree, os.environ["HF_HUB_CACHE"], ignore_errors=True)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `infimed-run` does: two workers share the cores

hypothesis.settings.register_profile(
    "infimed",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("infimed")
forked.spare()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under pytest-xdist, what is slow comes first in the part of every worker."""
    if num_workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
        items[:] = order.dealt(
            items, lambda test: test.path, lambda test: test.get_closest_marker("slow") is not None, num_workers
        )


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch on one thread, so that two workers do not take each other's cores, and sums have one order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def own_plugin_files() -> Iterator[None]:
    """A test that uses a plugin of one file leaves none behind: the variable that names them reaches every process."""
    before = os.environ.get("INFIMED_PLUGIN_FILES", "{}")
    yield
    os.environ["INFIMED_PLUGIN_FILES"] = before


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
