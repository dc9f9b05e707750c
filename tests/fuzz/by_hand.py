"""Fuzz one target, or all of them by turns, with atheris: guided by the coverage of InfiMed's own code.

python tests/fuzz/by_hand.py reader-csv -max_total_time=600
python tests/fuzz/by_hand.py all -max_total_time=3600 -artifact_prefix=/tmp/found-
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["infimed_core", "infimed_plugins"]):
    from targets import TARGETS


def one_of_all(data: bytes) -> None:
    """The first byte says which target gets the others."""
    if data:
        list(TARGETS.values())[data[0] % len(TARGETS)](data[1:])


def main() -> None:
    targets = {**TARGETS, "all": one_of_all}
    if len(sys.argv) < 2 or sys.argv[1] not in targets:
        sys.exit(f"say what to fuzz: {', '.join(targets)}")
    target = targets[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
