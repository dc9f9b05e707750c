"""MedEvalKit's benchmarks, graded as it grades them and graded right; and its saved results graded again."""

from collections.abc import Callable

from infimed_core import Benchmark, hookimpl


@hookimpl
def infimed_benchmarks() -> dict[str, type[Benchmark]]:
    """Offer one benchmark for each data card in ``tasks/``."""
    from infimed_plugins.medevalkit.benchmarks import table

    return table()


@hookimpl(optionalhook=True)
def infimed_commands() -> dict[str, Callable[..., None]]:
    """Offer ``infimed rescore``."""
    from infimed_plugins.medevalkit.command import rescore_command

    return {"rescore": rescore_command}
