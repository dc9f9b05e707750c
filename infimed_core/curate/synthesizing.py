"""The synthesis step of a run: samples made from the selected ones, put before the filters and added to the data."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from infimed_core.api.data import Executor, Fault, Sample
from infimed_core.api.models import Answer, Request
from infimed_core.api.synthesis import SynthesisContext, Synthesizer
from infimed_core.contracts import calling, wrong
from infimed_core.curate.filtering import filter_dataset
from infimed_core.curate.read_task import check_sample
from infimed_core.curate.scoring import with_identity
from infimed_core.store.artifacts import digest
from infimed_core.store.dataset import Curated, Dataset, store_media, write_samples
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
            return state.model_pool.ask(model, [with_identity(request) for request in requests])

        context = SynthesisContext(ask, state.model_pool.identity, state.media, directory, state.seed)
        dropped = Counter[str]()
        with replaced(directory / "faults.jsonl") as faults:

            def made() -> Iterator[Sample]:
                seen = set[str]()
                for row in _rows(synthesizer, curated, context):
                    fault = row if isinstance(row, Fault) else check_sample(row)
                    if fault is not None:
                        dropped[fault.code] += 1
                        faults.write(fault.model_dump_json() + "\n")
                    elif isinstance(row, Sample):
                        if row.id in seen:
                            raise wrong(synthesizer, "synthesize", f"made two samples with the id '{row.id}'")
                        seen.add(row.id)
                        yield written(store_media(row, state.media_directory), state.path)
                    done = len(seen) + dropped.total()
                    state.tell("progress", "reasoning", {"done": done, "total": num_in, "unit": "sample"})

            num_made = write_samples(directory / "made.jsonl", made())
        if num_made + dropped.total() != num_in:
            raise wrong(synthesizer, "synthesize", f"gave {num_made + dropped.total()} rows for {num_in} samples")
        with (
            replaced(directory / "samples.jsonl") as stream,
            (directory / "made.jsonl").open(encoding="utf-8") as added,
        ):
            for row in range(len(curated.dataset)):
                body = json.loads(curated.dataset.line(row))
                stream.write(json.dumps({**body, "tags": DIRECT | body["tags"]}, ensure_ascii=False) + "\n")
            shutil.copyfileobj(added, stream)
        if not context.complete:
            state.say("models that could not be reached are asked again by the next run", "reasoning")
        return Outcome(num_in, num_made, dropped, context.details, context.complete)

    directory = state.step("reasoning", hashed, work).directory
    made = Dataset(directory / "made.jsonl")
    content = digest(hashed, made.digest)  # an answer that was missing may be there next time
    left_out, filtered = filter_dataset(state, made, content, executor, "reasoning-filter")
    kept = np.concatenate([curated.kept, ~left_out])
    both, kept_digest = Dataset(directory / "samples.jsonl"), digest(content, filtered)
    return Curated(both, kept, content, kept_digest, curated.scores, curated.scores_digest)


def _rows(synthesizer: Synthesizer, curated: Curated, context: SynthesisContext) -> Iterator[Sample | Fault]:
    with calling(synthesizer, "synthesize"):
        for row in synthesizer.synthesize(curated.samples(), context):
            if not isinstance(row, Sample | Fault):
                raise wrong(synthesizer, "synthesize", f"yielded a {type(row).__name__}; yield a Sample or a Fault")
            yield row
