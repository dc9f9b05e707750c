"""The synthesis step of a run: samples made from the selected ones, put before the filters and added to the data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from infimed_core.api.data import Executor, Fault
from infimed_core.api.models import Answer, Request
from infimed_core.api.synthesis import SynthesisContext, Synthesizer
from infimed_core.contracts import calling, wrong
from infimed_core.curate.filtering import filter_dataset
from infimed_core.curate.reading import check_sample
from infimed_core.store.artifacts import digest
from infimed_core.store.dataset import Curated, Dataset, store_media
from infimed_core.store.files import replaced
from infimed_core.store.places import written
from infimed_core.store.steps import Outcome, RunState

DIRECT = {"reasoning": "direct"}
"""Tag of the samples that were there before, so that a stage's mix can tell them from those that were made."""


def synthesize_samples(state: RunState, curated: Curated, executor: Executor) -> Curated:
    """The selected samples and those that were made from them; the filters of the run see what was made as well."""
    synthesizer: Synthesizer = state.plan.component("reasoning")
    identities = {name: state.model_pool.identity(name) for name in synthesizer.models()}
    hashed = digest("reasoning", 1, curated.digest, synthesizer.identity(), identities, state.seed)
    num_in = int(curated.kept.sum())

    def work(directory: Path) -> Outcome:
        def ask(model: str, requests: Sequence[Request]) -> list[Answer]:
            return state.model_pool.ask(model, requests)

        context = SynthesisContext(ask, state.model_pool.identity, state.media, directory, state.seed)
        seen, dropped = set[str](), Counter[str]()
        with (
            replaced(directory / "made.jsonl") as made,
            replaced(directory / "faults.jsonl") as faults,
            calling(synthesizer, "synthesize"),
        ):
            for row in synthesizer.synthesize(curated.samples(), context):
                if not isinstance(row, Fault) and (fault := check_sample(row)) is not None:
                    row = fault
                if isinstance(row, Fault):
                    dropped[row.code] += 1
                    faults.write(row.model_dump_json() + "\n")
                elif row.id in seen:
                    raise wrong(synthesizer, "synthesize", f"made two samples with the id '{row.id}'")
                else:
                    seen.add(row.id)
                    made.write(written(store_media(row, state.media_directory), state.path).model_dump_json() + "\n")
                done = len(seen) + dropped.total()
                state.tell("progress", "reasoning", {"done": done, "total": num_in, "unit": "sample"})
        if len(seen) + dropped.total() != num_in:
            raise wrong(synthesizer, "synthesize", f"gave {len(seen) + dropped.total()} rows for {num_in} samples")
        with replaced(directory / "samples.jsonl") as stream:
            for row in range(len(curated.dataset)):
                body = json.loads(curated.dataset.line(row))
                stream.write(json.dumps({**body, "tags": DIRECT | body["tags"]}, ensure_ascii=False) + "\n")
            stream.write((directory / "made.jsonl").read_text(encoding="utf-8"))
        if not context.complete:
            state.say("models that could not be reached are asked again by the next run", "reasoning")
        return Outcome(num_in, len(seen), dropped, context.details, context.complete)

    directory = state.step("reasoning", hashed, work).directory
    made = Dataset(directory / "made.jsonl")
    content = digest(hashed, made.digest)  # an answer that was missing may be there next time
    left_out, filtered = filter_dataset(state, made, content, executor, "reasoning-filter")
    kept = np.concatenate([curated.kept, ~left_out])
    return Curated(Dataset(directory / "samples.jsonl"), kept, content, digest(content, filtered))
