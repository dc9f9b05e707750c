"""Cases for a multidisciplinary team, graded by the points that an answer makes."""

from collections.abc import Callable

from infimed_core import hookimpl


@hookimpl
def infimed_benchmarks() -> dict[str, str]:
    """Offer ``mdt-cases``."""
    return {"mdt-cases": "infimed_plugins.mdt.benchmark:MdtCases"}


@hookimpl
def infimed_metrics() -> dict[str, str]:
    """Offer ``point-coverage`` and ``violation-rate``."""
    return {
        "point-coverage": "infimed_plugins.mdt.metrics:PointCoverage",
        "violation-rate": "infimed_plugins.mdt.metrics:ViolationRate",
    }


@hookimpl
def infimed_commands() -> dict[str, Callable[..., None]]:
    """Offer ``infimed mdt-schema`` and ``infimed mdt-agreement``."""
    from infimed_plugins.mdt.command import mdt_agreement, mdt_schema

    return {"mdt-schema": mdt_schema, "mdt-agreement": mdt_agreement}
