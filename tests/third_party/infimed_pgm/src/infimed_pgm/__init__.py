"""Portable graymaps (the format of the MIAS mammograms) as a modality, a metric, and a scorer."""

from infimed_core import Metric, Modality, Scorer, hookimpl


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


@hookimpl
def infimed_scorers() -> dict[str, type[Scorer]]:
    """Whether answers end as sentences do."""
    from infimed_pgm.ending import FullStop

    return {"full-stop": FullStop}
