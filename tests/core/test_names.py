"""The core holds no name of a plugin, so that none of them is more than the others."""

import ast
from pathlib import Path

from infimed_core.plugins import KINDS, load_plugins

CORE = Path(__file__).parents[2] / "infimed_core"
WORDS_OF_THE_CORE = {
    "quality": "a section of the run file",
    "direct": "a value of the tag reasoning: what a sample is that nothing made",
    "reasoning": "a section of the run file, its step, and the tag of what it makes",
    "resolution": "a section of the run file, and of a stage",
    "packing": "a section of the run file, and of a stage",
    "filters": "a key of the run file: data.filters",
    "metrics": "a key of the run file: a benchmark's metrics",
    "directory": "a key of the run file: run.directory",
    "questions": "a key of what is measured while a stage trains",
    "padded": "a column of a stage's plan",
    "image": "what a medium is where nothing else is said: the default of Media.kind",
    "random": "a key of what a plan says of its mixing",
    "reporting": "a word in the vocabulary of task types",
    "most-common-answer": "a name in results and records: the default of evaluation.compare_to",
    "constant-letter": "a name in results and records: a value of evaluation.baselines",
    "assemble": "a function that plugins may import",
    "judge": "a method of benchmarks and scorers, and what a run file calls its judge where nothing else is said",
    "grounding": "a word in the vocabulary of task types",
    "region": "a word in the vocabulary of task types",
    "image-blind": "a name in results and records: the default of evaluation.baselines",
    "length": "a key of what a plan says of its mixing",
    "checkpoints": "a folder of a run",
    "format": "a key of run.json",
}
"""Words that are plugins' or components' too, with what else they are."""


def names_of_plugins() -> dict[str, str]:
    registry = load_plugins()
    found = dict.fromkeys(registry.plugins, "plugin")
    for kind in KINDS:
        found |= dict.fromkeys(registry.names(kind), kind)
    return found


def test_the_core_holds_no_name_of_a_plugin_or_of_its_components() -> None:
    names = {name: kind for name, kind in names_of_plugins().items() if name not in WORDS_OF_THE_CORE}
    found = []
    for path in sorted(CORE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                name = node.value.rpartition("/")[2]
                if name in names:
                    found.append(f"{path.relative_to(CORE)}:{node.lineno}: the {names[name]} '{name}'")
    assert found == []


def test_what_a_run_uses_by_default_is_what_a_built_in_declares() -> None:
    registry = load_plugins()
    for purpose, kind in (
        ("solver", "solver"),
        ("metric", "metric"),
        ("filter", "filter"),
        ("executor", "executor"),
        ("padded packer", "packer"),
    ):
        name = registry.default(purpose)
        assert name is not None and registry.is_own(registry.owner(kind, name)), purpose
