"""What the demo data hold, counted: ``python -m infimed_plugins.demo.summary``."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence

import numpy as np

from infimed_core import Sample
from infimed_plugins.demo import blocks, pictures, samples
from infimed_plugins.demo.anatomy import DemoAnatomy
from infimed_plugins.demo.questions import FORMS
from infimed_plugins.demo.vqa import DemoText, DemoVqa


def neighbour_distances(side: int = 128) -> dict[str, tuple[int, float, float]]:
    """How far test slices are from training, per plane of the T1 volume.

    Returns, by plane: the smallest distance in slices (mm) from a test slice to a training slice, mirrored slices
    counted; the median root-mean-square difference in grey levels (at ``side`` pixels) of a test slice to its nearest
    training slice; and, to compare, that of a training slice to its nearest other training slice.
    """
    indices: dict[tuple[str, str], list[int]] = collections.defaultdict(list)
    shown: dict[tuple[str, str], list[np.ndarray]] = collections.defaultdict(list)
    for picture in pictures.pictures(side):
        if picture.source == "mni152-t1":
            plane, index = picture.id.split("-")[2:]
            indices[plane, picture.split].append(int(index))
            shown[plane, picture.split].append(picture.pixels.astype(np.float32).ravel())
    found = {}
    for plane in blocks.PLANES:
        seen = np.stack(shown[plane, "train"])
        mirror = 2 * blocks.MIDLINE if plane == "sagittal" else -(10**6)
        gaps = [
            min(abs(index - place) for known in indices[plane, "train"] for place in (known, mirror - known))
            for index in indices[plane, "test"]
        ]
        to_train = [float(np.sqrt(((seen - one) ** 2).mean(axis=1)).min()) for one in shown[plane, "test"]]
        within = [float(np.sort(np.sqrt(((seen - one) ** 2).mean(axis=1)))[1]) for one in seen]
        found[plane] = (min(gaps), float(np.median(to_train)), float(np.median(within)))
    return found


def most_common_answer(questions: Iterable[Sample]) -> tuple[float, dict[tuple[str, str], tuple[int, float]]]:
    """Accuracy of answering every (kind, form) with its commonest answer: overall, and per group with its size."""
    groups: dict[tuple[str, str], collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for sample in questions:
        groups[sample.tags["kind"], sample.tags["form"]][sample.references[0]] += 1
    total = sum(answers.total() for answers in groups.values())
    parts = {group: (answers.total(), max(answers.values()) / answers.total()) for group, answers in groups.items()}
    return sum(size * share for size, share in parts.values()) / max(total, 1), parts


def _table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return f"**{title}**\n\n" + "\n".join(lines) + "\n"


def report() -> str:
    """Every figure that the datasheet quotes, as Markdown tables."""
    everything = pictures.pictures(128)
    train = [row for row in DemoAnatomy().read("") if isinstance(row, Sample)]
    vqa = [row for row in DemoVqa().samples() if isinstance(row, Sample)]
    text = [row for row in DemoText().samples() if isinstance(row, Sample)]
    views = collections.Counter((picture.source, picture.split) for picture in everything)
    images = collections.Counter(
        (source, split) for source, split, _ in {(p.source, p.split, p.image) for p in everything}
    )
    parts = [
        _table(
            "Distinct images (and views of them) by source and split",
            ("source", *blocks.SPLITS),
            [
                (source, *(f"{images[source, split]} ({views[source, split]})" for split in blocks.SPLITS))
                for source in sorted({picture.source for picture in everything})
            ]
            + [
                (
                    "all",
                    *(
                        f"{sum(n for (_, s), n in images.items() if s == split)} "
                        f"({sum(n for (_, s), n in views.items() if s == split)})"
                        for split in blocks.SPLITS
                    ),
                )
            ],
        ),
        _table(
            "Training samples and questions by stage",
            ("stage", "samples", "questions with an image", "text-only questions"),
            [
                (
                    stage,
                    sum(row.tags["stage"] == stage for row in train),
                    sum(len(row.turns) // 2 for row in train if row.tags["stage"] == stage and row.media),
                    sum(len(row.turns) // 2 for row in train if row.tags["stage"] == stage and not row.media),
                )
                for stage in samples.STAGES
            ],
        ),
    ]
    overall, groups = most_common_answer(vqa)
    parts.append(
        _table(
            f"demo-vqa: {len(vqa)} test questions; always the most common answer scores {overall:.3f}",
            ("kind", *(f"{form}: questions (most common answer)" for form in FORMS)),
            [
                (kind, *("{} ({:.2f})".format(*groups.get((kind, form), (0, 0.0))) for form in FORMS))
                for kind in samples.ALL_KINDS
            ]
            + [
                (
                    "all",
                    *(sum(groups.get((kind, form), (0, 0))[0] for kind in samples.ALL_KINDS) for form in FORMS),
                )
            ],
        )
    )
    text_overall, text_groups = most_common_answer(text)
    parts.append(
        _table(
            f"demo-text: {len(text)} test questions; always the most common answer scores {text_overall:.3f}",
            ("kind", "form", "questions", "most common answer"),
            [(*group, size, f"{share:.2f}") for group, (size, share) in sorted(text_groups.items())],
        )
    )
    parts.append(
        _table(
            "How far a test slice is from training (T1 volume)",
            (
                "plane",
                "nearest training slice (mm)",
                "difference to it (RMS grey levels, median)",
                "training slices among themselves",
            ),
            [(plane, gap, f"{far:.1f}", f"{near:.1f}") for plane, (gap, far, near) in neighbour_distances().items()],
        )
    )
    return "\n".join(parts)


if __name__ == "__main__":
    print(report())
