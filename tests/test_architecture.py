"""The shape of the code: a small core, no circle, nothing deep, no long file."""

from functools import cache
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
CORE, PLUGINS = "infimed_core", "infimed_plugins"
MOST_LINES, LONGEST_FILE, DEEPEST = 13_921, 400, 13
"""8,500 lines are aimed at; until then the number here may only go down."""


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(CORE, PLUGINS, cache_dir=None, exclude_type_checking_imports=True)


def circles(package: str) -> list[list[str]]:
    """Strongly connected modules of a package, found by following every import to its end (Tarjan)."""
    found, order, low, stack = [], {}, {}, []

    def visit(module: str) -> None:
        order[module] = low[module] = len(order)
        stack.append(module)
        for target in sorted(graph().find_modules_directly_imported_by(module)):
            if not target.startswith(package):
                continue
            if target not in order:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], order[target])
        if low[module] == order[module]:
            members = []
            while not members or members[-1] != module:
                members.append(stack.pop())
            if len(members) > 1:
                found.append(sorted(members))

    for module in sorted(name for name in graph().modules if name.startswith(package)):
        if module not in order:
            visit(module)
    return found


def chain(package: str) -> list[str]:
    """The longest way from module to module along imports."""

    @cache
    def longest(module: str) -> tuple[str, ...]:
        targets = (t for t in graph().find_modules_directly_imported_by(module) if t.startswith(package))
        return max(((module, *longest(target)) for target in targets), key=len, default=(module,))

    return list(max((longest(name) for name in graph().modules if name.startswith(package)), key=len))


def test_no_module_of_core_or_plugins_imports_itself_by_a_detour():
    assert circles(CORE) == []
    assert circles(PLUGINS) == []


def test_plugins_import_the_face_of_the_core_and_what_is_public_beside_it():
    imports = grimp.build_graph(CORE, PLUGINS, cache_dir=None)  # those for annotations, too
    public = {CORE, f"{CORE}.records", f"{CORE}.testing"}
    for module in (name for name in imports.modules if name.startswith(PLUGINS)):
        targets = imports.find_modules_directly_imported_by(module)
        assert {name for name in targets if name.startswith(CORE)} <= public, module


def test_the_core_is_small_and_shallow_and_no_file_is_long(capsys):
    lines = {path: len(path.read_text().splitlines()) for path in (ROOT / CORE).rglob("*.py")}
    longest, deepest = max(lines, key=lines.__getitem__), chain(CORE)
    with capsys.disabled():
        print(
            f"\n{CORE}: {sum(lines.values())} lines in {len(lines)} files, the longest {longest.name} with "
            f"{lines[longest]}; {len(deepest)} modules deep: {' > '.join(deepest)}"
        )
    assert sum(lines.values()) <= MOST_LINES
    assert lines[longest] <= LONGEST_FILE
    assert len(deepest) <= DEEPEST
