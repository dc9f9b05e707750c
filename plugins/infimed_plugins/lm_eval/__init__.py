"""The bridge to lm-eval: its tasks as benchmarks, and our benchmarks as its tasks."""

from collections.abc import Callable

from infimed_core import Benchmark, hookimpl


@hookimpl
def infimed_benchmarks() -> dict[str, type[Benchmark]]:
    """Any generative lm-eval task."""
    from infimed_plugins.lm_eval.benchmark import LmEvalTask

    return {"lm-eval": LmEvalTask}


@hookimpl
def infimed_commands() -> dict[str, Callable[..., None]]:
    """Where lm-eval finds our benchmarks."""
    from infimed_plugins.lm_eval.export import print_path

    return {"lm-eval-path": print_path}
