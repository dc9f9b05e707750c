"""What checks cost: seconds of processor time that a demo spends in functions that only check, beside all it takes.

Each check is replaced by itself with a clock around it. A check within a check counts once, for the outer one. The
clock itself is counted too, so the share is not too low. What a check makes the disk do (waiting) is not in it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from infimed_core import load_plugins, load_run_file

ROOT = Path(__file__).parent.parent
CHECKS: dict[str, dict[str, tuple[str, ...]]] = {
    "contracts: what components return": {
        "infimed_core.contracts": (),
        "infimed_core.curate.read_task": ("check_sample",),
        "infimed_core.plan.rows": ("_check",),
    },
    "digests: identity and damage": {
        "infimed_core.named_files": ("digest_of_files", "digest_of_file", "digest_of_checkpoint"),
        "infimed_core.store.artifacts": (
            "digest",
            "mask_digest",
            "verify_files",
            "Artifact.is_complete",
            "Artifact.seal",
        ),
    },
    "redaction: texts as files and terminals may hold them": {"infimed_core.texts": ()},
    "locks and owners": {"infimed_core.store.record": ("RunDirectory.hold", "RunDirectory.release", "is_gone")},
    "bounds of pictures": {
        "infimed_plugins.image.modality": ("Image._checked",),
        "infimed_plugins.image.png": ("without_extras",),
    },
    "training: borders and finite weights": {
        "infimed_plugins.vlm.transformers_model": ("TransformersModel._check_borders",),
        "infimed_plugins.sft.failures": ("check_weights", "check_skipped"),
    },
}
"""Functions and methods that only check, by group and module: all functions of a module where none is named."""
SMALLER = {
    "data.sources.0.with.max_images": 60,
    "data.executor": {"use": "serial"},
    **{f"training.with.stages.{number}.num_samples": 100 for number in range(4)},
    "evaluation.limit": 30,
    "report": [],
}
"""The demo with a small part of its training, in one process: the checks at the beginning and end of each step weigh
more beside it than in the whole."""


class Clock:
    """Seconds of this thread within checks, by group."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(CHECKS, 0.0)
        self.calls = dict.fromkeys(CHECKS, 0)
        self._depth = 0

    def around(self, group: str, function: Any) -> Any:
        """The function, its time counted."""

        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            start = time.thread_time() if self._depth == 0 else 0.0
            self._depth += 1
            try:
                return function(*arguments, **options)
            finally:
                self._depth -= 1
                self.calls[group] += 1
                if self._depth == 0:
                    self.seconds[group] += time.thread_time() - start

        return call

    def wind(self) -> int:
        """Put the clock around every check, wherever a module has imported it; returns around how many."""
        count = 0
        for group, modules in CHECKS.items():
            for module, names in modules.items():
                here = importlib.import_module(module)
                for name in names or [name for name, value in vars(here).items() if inspect.isfunction(value)]:
                    count += self._wrap(group, here, name)
        return count

    def _wrap(self, group: str, here: Any, name: str) -> bool:
        owner, _, method = name.rpartition(".")
        place = getattr(here, owner) if owner else here
        found = vars(place)[method]
        if isinstance(found, property):
            setattr(place, method, property(self.around(group, found.fget)))
            return True
        if not owner and (inspect.isgeneratorfunction(found) or found.__module__ != here.__name__):
            return False  # a generator does the reader's work too; what another module made is wrapped there
        wrapped = self.around(group, found)
        setattr(place, method, wrapped)
        for other in list(sys.modules.values()) if not owner else ():
            if getattr(other, "__name__", "").startswith("infimed") and vars(other).get(name) is found:
                setattr(other, name, wrapped)
        return True


def overhead() -> dict[str, Any]:
    """Run a smaller demo with a clock around every check; what it imports would weigh more than in the whole."""
    import infimed_core.run as whole

    importlib.import_module("transformers.models.qwen3_vl.modeling_qwen3_vl")
    registry, clock = load_plugins(), Clock()
    num_checks = clock.wind()
    with tempfile.TemporaryDirectory() as folder:
        plan = load_run_file(ROOT / "examples" / "full.yaml", registry, {**SMALLER, "run.directory": folder})
        start = time.process_time()
        record = whole.run(plan, registry, lambda event: None)
        seconds = time.process_time() - start
    spent = sum(clock.seconds.values())
    groups = {
        group: {"seconds": round(clock.seconds[group], 4), "calls": clock.calls[group]} for group in clock.seconds
    }
    return {
        "status": record.status, "checks": num_checks, "groups": groups, "seconds": spent, "run_seconds": seconds,
        "share": spent / seconds,
    }  # fmt: skip
