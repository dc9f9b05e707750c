"""The run files and schemas that come with InfiMed, in the wheel as in a checkout."""

from __future__ import annotations

from pathlib import Path

from infimed_core import InfimedError

_HERE = Path(__file__).parent


def folder(name: str) -> Path:
    """Where ``examples`` or ``schemas`` lie: within this package in a wheel, at the root in a checkout."""
    packed = _HERE / name
    return packed if packed.is_dir() else _HERE.parents[2] / name


def examples() -> dict[str, str]:
    """Every example by its name, with the first line of its comment."""
    root = folder("examples")
    found = {}
    for path in sorted(root.rglob("*.yaml")):
        lines = path.read_text(encoding="utf-8").split("\n")
        comments = [line.lstrip("# ") for line in lines if line.startswith("#") and "yaml-language-server" not in line]
        found[path.relative_to(root).with_suffix("").as_posix()] = comments[0] if comments else ""
    return found


def example_text(name: str) -> str:
    """The text of an example; what its editor comment names beside it in a checkout is not beside a copy.

    Raises:
        InfimedError: there is none of that name.
    """
    known = examples()
    short = {full.rpartition("/")[2]: full for full in known}
    chosen = name if name in known else short.get(name)
    if chosen is None:
        raise InfimedError(f"no example '{name}'; there are: {', '.join(known)}")
    text = (folder("examples") / f"{chosen}.yaml").read_text(encoding="utf-8")
    return "".join(line for line in text.splitlines(keepends=True) if "yaml-language-server" not in line)
