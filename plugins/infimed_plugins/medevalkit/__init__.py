"""MedEvalKit's benchmarks, graded as it grades them and graded right; its saved results, and questions of your own."""

from collections.abc import Callable
from typing import Any

from infimed_core import Metric, RunEvent, hookimpl


@hookimpl
def infimed_benchmarks() -> dict[str, str]:
    """Offer one benchmark for each data card in ``tasks/``, and ``questions`` for a test set of one's own."""
    from infimed_plugins.medevalkit.card_names import names, title_of

    kit = {name: f"infimed_plugins.medevalkit.benchmarks:{title_of(name)}" for name in names()}
    own = {
        "questions": "infimed_plugins.medevalkit.questions:Questions",
        "option-shuffled": "infimed_plugins.medevalkit.shuffled:OptionShuffled",
        "likelihood": "infimed_plugins.medevalkit.wrappers.likelihood:LikelihoodScored",
        "image-blind": "infimed_plugins.medevalkit.wrappers.pictures:ImageBlind",
        "wrong-image": "infimed_plugins.medevalkit.wrappers.pictures:WrongImage",
        "degraded-image": "infimed_plugins.medevalkit.wrappers.pictures:DegradedImage",
        "arc-challenge": "infimed_plugins.medevalkit.general:ArcChallenge",
        "mmbench": "infimed_plugins.medevalkit.general:MMBench",
        "paraphrased": "infimed_plugins.medevalkit.wrappers.paraphrased:Paraphrased",
    }
    return {**kit, **own}


@hookimpl
def infimed_benchmark_groups() -> dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]]:
    """Offer ``medevalkit-7``, ``text``, ``chinese`` and ``reports``, each for several benchmarks."""

    def members_of(name: str) -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
        def members(settings: dict[str, Any]) -> list[dict[str, Any]]:
            from infimed_plugins.medevalkit import groups

            return groups.members(name, settings)

        return members

    return {name: members_of(name) for name in ("medevalkit-7", "text", "chinese", "reports")}


@hookimpl
def infimed_models() -> dict[str, str]:
    """Offer ``verifier``, a judge of open answers."""
    return {"verifier": "infimed_plugins.medevalkit.verifier:Verifier"}


@hookimpl
def infimed_metrics() -> dict[str, type[Metric] | str]:
    """Offer HealthBench's clipped mean, and what holds in all orders of the options."""
    from infimed_plugins.medevalkit.rubric import RubricScore

    return {
        "rubric-score": RubricScore,
        "consistency": "infimed_plugins.medevalkit.shuffled:Consistency",
        "right-in-all-orders": "infimed_plugins.medevalkit.shuffled:RightInAllOrders",
    }


@hookimpl(optionalhook=True)
def infimed_commands() -> dict[str, str]:
    """Offer ``infimed rescore`` and ``infimed seven-set-mean``."""
    return {
        "rescore": "infimed_plugins.medevalkit.command:rescore_command",
        "seven-set-mean": "infimed_plugins.medevalkit.command:seven_set_mean_command",
    }


@hookimpl
def infimed_run_event(event: RunEvent) -> None:
    """Print both scorings and their difference at the end of a run; the seven-set mean where all seven were asked."""
    if event.kind == "run_finished":
        from infimed_plugins.medevalkit.command import print_complete_means

        print_complete_means(event.directory)
