"""Cases for a multidisciplinary team, graded by the points that an answer makes."""

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
def infimed_commands() -> dict[str, str]:
    """Offer ``infimed mdt-schema`` and ``infimed mdt-agreement``."""
    return {
        "mdt-schema": "infimed_plugins.mdt.command:mdt_schema",
        "mdt-agreement": "infimed_plugins.mdt.command:mdt_agreement",
    }
