"""The step that builds the index of a run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from infimed_core.api.models import Model
from infimed_core.curate.curation import Curated
from infimed_core.curate.reading import TOLD_FAULTS
from infimed_core.models.checkpoints import Checkpoint
from infimed_core.plan.index import Index, build_index
from infimed_core.store.artifacts import digest
from infimed_core.store.files import write_atomically
from infimed_core.store.steps import Outcome, RunState


def index_samples(state: RunState, curated: Curated, checkpoint: Checkpoint) -> tuple[Index, str]:
    """Count the text tokens and read the image sizes of every sample; no image is decoded."""
    model: Model = state.plan.component("model")
    assert checkpoint.directory is not None
    encoder = model.encoder(checkpoint.directory)
    made_from = digest("index", 1, curated.dataset_digest, encoder.identity)

    def work(directory: Path) -> Outcome:
        def progress(done: int, total: int) -> None:
            state.tell("progress", "index", {"done": done, "total": total, "unit": "sample"})

        # what an index of an earlier run of this file knows of a sample is not counted or probed again
        earlier = [Index.load(path) for path in sorted((state.path / "artifacts").glob("index-*/index.npz"))]
        index = build_index(curated.dataset, encoder, state.media, progress, earlier=earlier)
        index.save(directory / "index.npz")
        dropped = Counter(fault.code for fault in index.faults)
        write_atomically(directory / "faults.jsonl", "".join(f"{one.model_dump_json()}\n" for one in index.faults))
        first = {fault.code: fault for fault in reversed(index.faults)}
        for code, count in dropped.most_common(TOLD_FAULTS):
            more = f"; {count:,} such samples, all in {directory / 'faults.jsonl'}" if count > 1 else ""
            text = f"cannot be trained on: sample '{first[code].sample_id}': {code}: {first[code].detail}{more}"
            state.tell("message", "index", {"text": text})
        return Outcome(len(curated.dataset), len(curated.dataset) - sum(dropped.values()), dict(dropped))

    artifact = state.step("index", made_from, work)
    return Index.load(artifact.directory / "index.npz"), made_from
