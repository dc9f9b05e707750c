"""Portable graymaps (the format of the MIAS mammograms) as a modality, and a metric."""

from infimed_core import Metric, Modality, hookimpl


@hookimpl
def infimed_modalities() -> dict[str, type[Modality]]:
    """Binary PGM files."""
    from infimed_pgm.graymap import Graymap

    return {"pgm": Graymap}


@hookimpl
def infimed_metrics() -> dict[str, type[Metric]]:
    """The median score."""
    from infimed_pgm.median import MedianScore

    return {"median-score": MedianScore}
