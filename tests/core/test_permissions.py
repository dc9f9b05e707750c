"""Whatever a run writes has the permissions that the user's umask gives: no more, and no less for a group."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from killsweep import write_run_file

from infimed_core import load_plugins, load_run_file
from infimed_core.records import open_run
from infimed_core.run import UMASKS, run
from infimed_plugins.reporting.page.page import write_page


@pytest.mark.parametrize(
    ("umask", "readable_by"), [(0o077, None), (0o027, None), (0o002, None), (0o077, "group"), (0o022, "user")]
)
def test_every_file_of_a_run_follows_the_umask_or_its_setting(tmp_path: Path, umask: int, readable_by) -> None:
    before = os.umask(umask)
    try:
        file = write_run_file(tmp_path)
        registry = load_plugins()
        run(load_run_file(file, registry, {"run.readable_by": readable_by}), registry, lambda event: None)
        assert os.umask(umask) == umask, "it is put back"
        if readable_by is not None:
            umask = UMASKS[readable_by]
            os.umask(umask)
        write_page(open_run(tmp_path / "runs" / "r"), tmp_path / "runs" / "r" / "report.html")
    finally:
        os.umask(before)
    wrong = {}
    for path in (tmp_path / "runs").rglob("*"):
        mode, whole = stat.S_IMODE(path.stat().st_mode), 0o777 if path.is_dir() else 0o666
        if mode != whole & ~umask:
            wrong[str(path)] = oct(mode)
        assert not mode & umask
    assert not wrong


def test_a_directory_that_is_not_ours_to_write_is_one_line_for_every_command(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    file = write_run_file(tmp_path)
    (tmp_path / "runs").mkdir(mode=0o500)
    done = subprocess.run(
        [sys.executable, "-m", "infimed_core", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and str(tmp_path / "runs") in done.stderr
