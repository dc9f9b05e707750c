"""``infimed --help``: every command of ours under a heading, in order."""

import os
import subprocess
import sys

from typer.testing import CliRunner

from infimed_core.cli import application
from infimed_core.plugins import load_plugins
from infimed_plugins.reporting import HEADINGS


def test_every_command_has_a_heading_and_every_heading_its_commands_in_order(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    registry = load_plugins()
    named = [name for names in HEADINGS.values() for name in names.split()]
    ours = [name for name, offer in registry.commands().items() if registry.is_own(offer.plugin)]
    assert sorted(named) == sorted(["run", *ours])
    text = CliRunner().invoke(application(registry, "--help"), ["--help"]).output
    for heading, names in HEADINGS.items():
        panel = text[text.index(f"─ {heading} ─") :].partition("╰")[0]
        shown = [line.split()[1] for line in panel.splitlines()[1:] if len(line) > 2 and line[2] != " "]
        first = ["run"] if "run" in names.split() else []
        assert shown == first + sorted(set(names.split()) - {"run"})


def test_a_command_of_another_plugin_is_listed_apart(tmp_path):
    (tmp_path / "greeting.py").write_text(
        "from infimed_core import hookimpl\n@hookimpl\ndef infimed_commands():\n"
        "    def greet():\n        'Say hello.'\n    return {'greet': greet}\n"
    )
    registry = load_plugins()
    registry.add_file(tmp_path / "greeting.py", always=True)
    text = CliRunner().invoke(application(registry, "--help"), ["--help"]).output
    assert "greet" in text[text.index("─ Other plugins ─") :].partition("╰")[0]


def infimed(*arguments, shell=None, **variables):
    """The command as a shell starts it, so that its name in what it prints is ``infimed``."""
    code = "import sys; from infimed_core.cli import main; sys.argv[0] = 'infimed'; main()"
    command = [sys.executable, "-c", code, *arguments]
    if shell:  # typer asks which shell it was started from; what follows keeps that shell from being replaced
        command = [shell, "-c", '"$@"; ended=$?; exit $ended', shell, *command]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, check=False)
    return done.returncode, done.stdout


def test_a_shell_completes_commands_and_options_as_the_documents_say():
    completes = {"_INFIMED_COMPLETE": "complete_bash"}
    assert infimed(COMP_WORDS="infimed leaderb", COMP_CWORD="1", **completes) == (0, "leaderboard\n")
    code, options = infimed(COMP_WORDS="infimed plugins --js", COMP_CWORD="2", **completes)
    assert (code, options.split()) == (0, ["--json"])
    code, script = infimed("--show-completion", shell="bash")
    assert code == 0 and "complete -o default -F _infimed_completion infimed" in script
