"""What CleanVision and Data-Juicer measure of the pictures in a folder; quality.py runs it where they are installed.

`python benchmarks/quality_peers.py FOLDER OUT.json`: FOLDER holds one folder for each kind of damage (and ``clean``).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

CLEANVISION = ("dark", "light", "odd_aspect_ratio", "odd_size", "low_information", "blurry")
"""Its checks of single pictures, without ``grayscale``, which flags all radiology."""
DATA_JUICER = {
    "image_shape_filter": "ImageShapeFilter",
    "image_aspect_ratio_filter": "ImageAspectRatioFilter",
    "image_size_filter": "ImageSizeFilter",
}
"""Its filters of pictures that need no model; the others download one."""


def cleanvision(folders: dict[str, list[str]]) -> dict[str, Any]:
    """Scores (1 is good) of every picture by check, and CPU seconds."""
    from cleanvision.imagelab import Imagelab

    scores: dict[str, Any] = {}
    seconds, num = 0.0, 0
    for name, files in folders.items():
        started = time.process_time()
        try:
            lab = Imagelab(filepaths=files, verbose=False)
            with contextlib.redirect_stdout(io.StringIO()):
                lab.find_issues({check: {} for check in CLEANVISION}, n_jobs=1, verbose=False)
        except Exception as error:
            scores[name] = f"{type(error).__name__}: {str(error)[:200]}"
            continue
        seconds += time.process_time() - started
        num += len(files)
        table = lab.issues.loc[files]
        scores[name] = {check: [float(value) for value in table[f"{check}_score"]] for check in CLEANVISION}
    return {
        "scores": scores,
        "pictures_per_second": num / seconds,
        "version": importlib.metadata.version("cleanvision"),
    }


def data_juicer(folders: dict[str, list[str]]) -> dict[str, Any]:
    """Statistics of every picture by filter, and CPU seconds."""
    from importlib import import_module

    from data_juicer.utils.constant import Fields

    ops = [getattr(import_module(f"data_juicer.ops.filter.{place}"), name)() for place, name in DATA_JUICER.items()]
    scores: dict[str, Any] = {}
    seconds, num = 0.0, 0
    for name, files in folders.items():
        found: dict[str, list[float]] = {}
        started = time.process_time()
        try:
            rows = [{"text": "", "images": [file], Fields.stats: {}} for file in files]
            for op in ops:
                if op.is_batched_op():
                    batch = {key: [row[key] for row in rows] for key in rows[0]}
                    op.compute_stats_batched(batch, context=False)
                else:
                    rows = [op.compute_stats_single(row, context=False) for row in rows]
            for row in rows:
                for key, value in row[Fields.stats].items():
                    found.setdefault(key, []).append(float(value[0]))
        except Exception as error:
            scores[name] = f"{type(error).__name__}: {str(error)[:200]}"
            continue
        seconds += time.process_time() - started
        num += len(files)
        scores[name] = found
    version = importlib.metadata.version("py-data-juicer")
    return {"scores": scores, "pictures_per_second": num / seconds, "version": version}


def measured(folder: Path) -> dict[str, Any]:
    """Both packages; where one cannot be imported or run, why."""
    folders = {item.name: sorted(map(str, item.iterdir())) for item in sorted(folder.iterdir()) if item.is_dir()}
    result: dict[str, Any] = {}
    for name, measure in (("CleanVision", cleanvision), ("Data-Juicer", data_juicer)):
        try:
            measure({"warm": next(iter(folders.values()))[:4]})  # imports and first calls are no part of the speed
            result[name] = measure(folders)
        except Exception as error:
            result[name] = {"absent": f"{type(error).__name__}: {str(error)[:200]}"}
    return result


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(measured(Path(sys.argv[1]))), encoding="utf-8")
