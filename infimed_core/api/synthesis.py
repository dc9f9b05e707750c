"""New training samples, made from those that were selected by asking models."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infimed_core.api.component import Component, JsonObject
from infimed_core.api.data import Fault, MediaLoader, Sample
from infimed_core.api.models import Answer, Request


@dataclass
class SynthesisContext:
    """What a synthesizer works with.

    Attributes:
        ask: asks a model of ``models:`` by name; every answer is stored and nothing is asked twice.
        model_identity: digest of what decides a named model's answers.
        directory: the step's folder, for files that people read.
        details: facts for the record, which the synthesizer fills in.
        complete: ``False`` once a model could not be reached, so that the next run asks it again.
    """

    ask: Callable[[str, Sequence[Request]], list[Answer]]
    model_identity: Callable[[str], str]
    media: MediaLoader
    directory: Path
    seed: int
    details: JsonObject = field(default_factory=dict)
    complete: bool = True


class Synthesizer(Component):
    """Makes training samples from selected ones; what it makes is added to them."""

    @abstractmethod
    def models(self) -> Sequence[str]:
        """Names of the run file's ``models:`` that it asks."""

    @abstractmethod
    def synthesize(self, samples: Iterable[Sample], context: SynthesisContext) -> Iterator[Sample | Fault]:
        """For every sample, in order, the sample that was made from it, or the fault that says why none was.

        A sample that is made has an id of its own. The same samples and answers give the same samples.
        """
