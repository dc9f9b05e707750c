"""The step that builds the index of a run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from infimed_core.api.models import Model
from infimed_core.models.checkpoints import Checkpoint
from infimed_core.plan.index import Index, build_index
from infimed_core.store.artifacts import digest
from infimed_core.store.dataset import TOLD_FAULTS, Dataset
from infimed_core.store.files import write_atomically
from infimed_core.store.steps import Outcome, RunState


def index_samples(state: RunState, dataset: Dataset, dataset_digest: str, checkpoint: Checkpoint) -> tuple[Index, str]:
    """Count the text tokens and read the image sizes of every sample; no image is decoded."""
    model: Model = state.plan.component("model")
    assert checkpoint.directory is not None
    encoder = model.encoder(checkpoint.directory)
    inputs_digest = digest("index", 1, dataset_digest, encoder.identity)

    def work(directory: Path) -> Outcome:
        def progress(done: int, total: int) -> None:
            state.tell("progress", "index", {"done": done, "total": total, "unit": "sample"})

        for text in encoder.doubts():
            state.tell("message", "index", {"text": text})
        # what an index of an earlier run of this file knows of a sample is not counted or probed again
        earlier = [Index.load(path) for path in sorted((state.path / "artifacts").glob("index-*/index.npz"))]
        index = build_index(dataset, encoder, state.media, progress, earlier=earlier)
        index.save(directory / "index.npz")
        dropped = Counter(fault.code for fault in index.faults)
        write_atomically(directory / "faults.jsonl", "".join(f"{fault.model_dump_json()}\n" for fault in index.faults))
        first = {fault.code: fault for fault in reversed(index.faults)}
        for code, count in dropped.most_common(TOLD_FAULTS):
            more = f"; {count:,} such samples, all in {directory / 'faults.jsonl'}" if count > 1 else ""
            which = f"sample '{first[code].sample_id}' ({first[code].where})"
            state.say(f"cannot be trained on: {which}: {code}: {first[code].detail}{more}", "index")
        return Outcome(len(dataset), len(dataset) - sum(dropped.values()), dict(dropped))

    artifact = state.step("index", inputs_digest, work)
    return Index.load(artifact.directory / "index.npz"), inputs_digest
