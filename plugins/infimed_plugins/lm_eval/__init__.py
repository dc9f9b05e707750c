"""The bridge to lm-eval: its tasks as benchmarks, and our benchmarks as its tasks."""

from collections.abc import Callable

from infimed_core import hookimpl


@hookimpl
def infimed_benchmarks() -> dict[str, str]:
    """Any generative lm-eval task."""
    return {"lm-eval": "infimed_plugins.lm_eval.benchmark:LmEvalTask"}


@hookimpl
def infimed_commands() -> dict[str, Callable[..., None]]:
    """Where lm-eval finds our benchmarks."""
    from infimed_plugins.lm_eval.export import print_path

    return {"lm-eval-path": print_path}
