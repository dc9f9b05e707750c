"""docs/operating.md tells the truth: every command in it is run, in its order."""

import os
import re
import sys
from pathlib import Path

import pytest
from pages import finish

PAGE = Path(__file__).parents[1] / "docs" / "operating.md"


@pytest.mark.slow
def test_every_command_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (run_file,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.S)
    (tmp_path / "run.yaml").write_text(run_file)
    commands = "".join(re.findall(r"```sh\n(.*?)```", text, flags=re.S)).splitlines()
    assert len(commands) >= 12
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command in commands:
        done = finish(["sh", "-c", command], command, tmp_path, {**os.environ, "PATH": path})
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, command
    assert (tmp_path / "full.yaml").stat().st_size > 1000
    assert 'state="done"} 1' in (tmp_path / "infimed.prom").read_text()
    assert "nothing to do for" in done.stderr  # moved, and nothing is done anew


def test_every_command_and_folder_that_operators_meet_is_on_the_page() -> None:
    from infimed_plugins.operations import infimed_commands
    from infimed_plugins.operations.disk import FOLDERS
    from infimed_plugins.operations.status import RunStatus, State

    text = PAGE.read_text(encoding="utf-8")
    assert all(f"infimed {name}" in text for name in infimed_commands())
    assert all(f"`{folder}/`" in text for folder in FOLDERS if folder != "tensorboard")
    assert all(f"`{state}`" in text for state in State.__args__) and RunStatus
