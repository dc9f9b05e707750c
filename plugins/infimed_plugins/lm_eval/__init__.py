"""The bridge to lm-eval: its tasks as benchmarks, and our benchmarks as its tasks."""

from collections.abc import Callable
from typing import Any

from infimed_core import hookimpl


@hookimpl
def infimed_benchmarks() -> dict[str, str]:
    """Any generative lm-eval task."""
    return {"lm-eval": "infimed_plugins.lm_eval.benchmark:LmEvalTask"}


@hookimpl
def infimed_benchmark_groups() -> dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]]:
    """``use: lm-eval, with: {tasks: [...]}`` stands for one benchmark per task, each under the task's name."""

    def one_per_task(settings: dict[str, Any]) -> list[dict[str, Any]]:
        tasks = settings.get("tasks")
        if not isinstance(tasks, list) or not tasks:
            return [{"use": "lm-eval"}]
        rest = {key: value for key, value in settings.items() if key != "tasks"}
        return [{"use": "lm-eval", "name": str(task), "with": {**rest, "task": str(task)}} for task in tasks]

    return {"lm-eval": one_per_task}


@hookimpl
def infimed_commands() -> dict[str, str]:
    """Where lm-eval finds our benchmarks."""
    return {"lm-eval-path": "infimed_plugins.lm_eval.export:print_path"}
