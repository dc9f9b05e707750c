"""MedEvalKit's benchmarks, graded as it grades them and graded right; and its saved results graded again."""

from collections.abc import Callable

from infimed_core import Benchmark, RunEvent, hookimpl


@hookimpl
def infimed_benchmarks() -> dict[str, type[Benchmark]]:
    """Offer one benchmark for each data card in ``tasks/``."""
    from infimed_plugins.medevalkit.benchmarks import table

    return table()


@hookimpl(optionalhook=True)
def infimed_commands() -> dict[str, Callable[..., None]]:
    """Offer ``infimed rescore`` and ``infimed seven-set-mean``."""
    from infimed_plugins.medevalkit.command import rescore_command, seven_set_mean_command

    return {"rescore": rescore_command, "seven-set-mean": seven_set_mean_command}


@hookimpl
def infimed_run_event(event: RunEvent) -> None:
    """Print the seven-set mean at the end of a run that asked all seven sets."""
    if event.kind == "run_finished":
        from infimed_plugins.medevalkit.command import print_complete_means

        print_complete_means(event.directory)
