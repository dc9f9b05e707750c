"""What a component returned is what its kind promises, or one line that names plugin, method and what is wrong."""

from __future__ import annotations

import errno
import json
import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from infimed_core.api.component import JsonObject
from infimed_core.api.data import DatasetFilter, Executor, Fault, FilterResult, Reader, Sample, Score
from infimed_core.api.evaluation import Metric
from infimed_core.api.models import Answer
from infimed_core.api.planning import Packer, Packs, Phase, ResolutionScheduler
from infimed_core.api.quality import Curriculum, PlannedSample
from infimed_core.api.reporting import Reporter
from infimed_core.api.training import Stage, Trainer
from infimed_core.errors import ComponentError, InfimedError
from infimed_core.plugin_loading import is_outside, place_of_code, plugin_of, told_error

T = TypeVar("T")
R = TypeVar("R")
FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
"""What the system says where nothing more can be written."""


def named(thing: Any, method: str) -> str:
    """A method for people: plugin, class, and where it is written."""
    owner = type(thing)
    plugin = plugin_of(owner.__module__)
    place = place_of_code(getattr(owner, "__wrapped__", getattr(owner, method, owner)))
    return (f"plugin '{plugin}': " if plugin else "") + f"{owner.__name__}.{method} ({place})"


def wrong(thing: Any, method: str, what: str) -> ComponentError:
    """The error that says what a method did that its kind does not allow."""
    return ComponentError(f"{named(thing, method)} {what}")


def raised_in(error: BaseException) -> ComponentError | None:
    """The error of an outside plugin with its plugin, method and place; ``None`` for everything else."""
    if isinstance(error, InfimedError) or (isinstance(error, OSError) and error.errno in FULL):
        return None
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [str(frame.f_globals.get("__name__", "")) for frame in frames]
    for frame, module in zip(frames, names, strict=True):
        if is_outside(module):
            function = getattr(frame.f_code, "co_qualname", frame.f_code.co_name)
            return ComponentError(f"plugin '{plugin_of(module)}': {function} raised {told_error(error, module)}")
    return None


@contextmanager
def calling(thing: Any, method: str) -> Iterator[None]:
    """Within this, an error of an outside plugin says whose it is; for what runs in another process."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, InfimedError) or not is_outside(type(thing).__module__):
            raise
        module = type(thing).__module__
        raise ComponentError(f"{named(thing, method)} raised {told_error(error, module)}") from error


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _listed(thing: Any, method: str, values: Any, of: type, what: str) -> list[Any]:
    """A list or tuple whose items are all of one type."""
    if not isinstance(values, list | tuple):
        raise wrong(thing, method, f"returned {_kind(values)}; return a list with {what} for each")
    for index, value in enumerate(values):
        if not isinstance(value, of):
            raise wrong(thing, method, f"returned {_kind(value)} at place {index}; each must be {what}")
    return list(values)


def checked_rows(reader: Reader, shard: str, start: int = 0) -> Iterator[Sample | Fault]:
    """The rows of a shard from number ``start`` on, each a sample or a fault."""
    with calling(reader, "read"):
        rows = reader.read_from(shard, start) if start else reader.read(shard)
        if not hasattr(rows, "__iter__"):
            raise wrong(reader, "read", f"returned {_kind(rows)}; yield a Sample or a Fault for each row")
        for row in rows:
            if not isinstance(row, Sample | Fault):
                raise wrong(reader, "read", f"yielded {_kind(row)}; yield a Sample or a Fault for each row")
            yield row


def checked_shards(reader: Reader) -> list[str]:
    """The names of a reader's shards."""
    shards: list[str] = _listed(reader, "shards", reader.shards(), str, "text")
    if len(set(shards)) != len(shards):
        raise wrong(reader, "shards", "names a shard twice; each would be read twice")
    return shards


class Numbered(NamedTuple):
    """A result and the index of the item that it is of."""

    number: int
    result: Any


@dataclass(frozen=True)
class _Numbering(Generic[T, R]):
    """The function with each result numbered. Picklable."""

    function: Callable[[T], R]
    num_items: int

    def __call__(self, item: tuple[int, T]) -> Numbered:
        return Numbered(item[0], self.function(item[1]) if item[0] < self.num_items else None)


class CheckedExecutor(Executor):
    """Another executor; a result that it drops, repeats or moves is an error and not another run's data."""

    inner: Executor
    apart: bool = False
    """Whether a single item gets company, so that a worker does it and not this process."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Results in the order of ``items``, one for each.

        Raises:
            ComponentError: the executor gave other results, or in another order.
        """
        numbered: list[Any] = [*enumerate(items), *([(1, None)] if self.apart and len(items) == 1 else [])]
        results = self.inner.map(_Numbering(function, len(items)), numbered)
        if not hasattr(results, "__iter__"):
            raise wrong(self.inner, "map", f"returned {_kind(results)}; yield the results in the order of the items")
        count = 0
        for row in results:
            if not isinstance(row, Numbered):
                raise wrong(self.inner, "map", f"yielded {_kind(row)} that the function did not return")
            if row.number != count:
                what = "drops or moves" if row.number > count else "repeats or moves"
                where = f"it gave that of item {row.number} in place {count}"
                raise wrong(self.inner, "map", f"{what} results: {where}; yield one result for each item, in order")
            count += 1
            if count <= len(items):
                yield row.result
        if count != len(numbered):
            raise wrong(self.inner, "map", f"gave {count} results for {len(numbered)} items; yield one each, in order")

    def opened(self) -> Any:
        """The other executor's."""
        return self.inner.opened()


def checked_filtered(filter_: DatasetFilter, result: Any) -> FilterResult:
    """A filter's verdict, with a reason for every reject and details that can be recorded."""
    if not isinstance(result, FilterResult):
        raise wrong(filter_, "check", f"returned {_kind(result)}; return a FilterResult")
    for identity, reasons in result.rejected.items():
        if not reasons or not all(reason.strip() for reason in reasons):
            what = f"rejected '{identity}' without a reason"
            raise wrong(filter_, "check", f"{what}; give each reject one reason or more, as in ('duplicate',)")
    if reason := not_json(result.details):
        raise wrong(filter_, "check", f"gave details that cannot be written: {reason}")
    return result


def checked_scores(scorer: Any, method: str, values: Any, count: int) -> list[Score]:
    """One score a sample. What is wrong in a single score is seen by ``wrong_score``."""
    scores: list[Score] = _listed(scorer, method, values, Score, "a Score")
    if len(scores) != count:
        raise wrong(scorer, method, f"returned {len(scores)} scores for {count} samples; give one for each, in order")
    return scores


def wrong_score(score: Any, dimensions: Sequence[str] = ()) -> str:
    """Why a score cannot stand, "" where it can: no score at all, a number that is none, a part that nothing keeps."""
    if not isinstance(score, Score):
        return f"{_kind(score)} and no Score"
    if score.value is not None and not 0 <= score.value <= 1:
        return f"the value is {score.value}; give a number from 0 to 1, or None with a reason"
    for kind, numbers in (("part", score.parts), ("raw", score.raw)):
        for name, number in numbers.items():
            if number is not None and not math.isfinite(number):
                return f"{kind} '{name}' is {number}; give a finite number or None"
    if lost := [name for name in score.parts if name not in dimensions] if dimensions else []:
        return f"part '{lost[0]}' is none of its dimensions ({', '.join(dimensions)}); name it among them"
    return ""


def checked_phases(scheduler: ResolutionScheduler, values: Any, count: int) -> list[Phase]:
    """Phases that cover samples 0 to ``count`` without gap; empty ones are left out."""
    phases: list[Phase] = _listed(scheduler, "plan", values, Phase, "a Phase")
    covered = 0
    for phase in phases:
        cap = phase.max_visual_tokens
        if cap is not None and (not isinstance(cap, int | np.integer) or cap < 1):
            raise wrong(scheduler, "plan", f"set max_visual_tokens to {cap!r}; give 1 or more, or None for native")
        if phase.start != covered or phase.stop < phase.start:
            break
        covered = phase.stop
    else:
        if covered == count:
            return [phase for phase in phases if phase.stop > phase.start] or [Phase(0, 0, None)]
    spans = ", ".join(f"{phase.start}-{phase.stop}" for phase in phases)
    raise wrong(scheduler, "plan", f"gave phases ({spans}) that do not cover samples 0-{count} without gap")


def checked_bands(curriculum: Curriculum, samples: Iterable[PlannedSample], count: int) -> NDArray[np.int32]:
    """The band of each sample, from 0: equal difficulties share one, and all hold as many samples as that allows."""

    def numbers() -> Iterator[float]:
        for place, value in enumerate(curriculum.difficulties(samples)):
            if value is not None and not (isinstance(value, Real) and math.isfinite(value)):
                what = f"gave {value!r} at place {place}; give a finite number, or None where it is not known"
                raise wrong(curriculum, "difficulties", what)
            yield math.inf if value is None else float(value)

    with calling(curriculum, "difficulties"):
        values = np.fromiter(numbers(), dtype=np.float64)
    if len(values) != count:
        raise wrong(curriculum, "difficulties", f"gave {len(values)} numbers for {count} samples; give one for each")
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / max(1, count)  # of all that are alike, as a share of the samples
    bands: NDArray[np.int32] = (middle * curriculum.bands).astype(np.int32)[which]
    return bands


def checked_packs(packer: Packer, packs: Any, costs: NDArray[np.int64], budget: NDArray[np.int64]) -> Packs:
    """Rows of indices of ``costs``, none empty, none twice, none over the budget."""

    def error(what: str) -> ComponentError:
        return wrong(packer, "group", what)

    if not isinstance(packs, Packs):
        raise error(f"returned {_kind(packs)}; return Packs (Packs.from_lists makes them of lists)")
    members, offsets = np.asarray(packs.members), np.asarray(packs.offsets)
    if members.dtype.kind not in "iu" or offsets.dtype.kind not in "iu":
        raise error("gave members or offsets that are no whole numbers")
    members, offsets = members.astype(np.int64, copy=False), offsets.astype(np.int64, copy=False)
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(members) or (np.diff(offsets) < 0).any():
        raise error("gave offsets that do not run from 0 to the number of members")
    empty = np.flatnonzero(np.diff(offsets) == 0)
    if len(empty):
        raise error(f"made row {empty[0]} of no sample; leave empty rows out")
    if len(members) and (members.min() < 0 or members.max() >= len(costs)):
        unknown = members[(members < 0) | (members >= len(costs))][0]
        raise error(f"put index {unknown} into a row, which it was not given: there are {len(costs)}")
    counts = np.bincount(members, minlength=len(costs))
    if len(counts) and counts.max() > 1:
        raise error(f"put index {counts.argmax()} into {counts.max()} rows")
    for column, what in enumerate(("tokens", "patches", "images")):
        totals = np.concatenate([[0], np.cumsum(costs[members, column])])
        if (np.diff(totals[offsets]) > budget[column]).any():
            raise error(f"filled a row beyond its budget of {budget[column]} {what}")
    return Packs(members, offsets)


def checked_answers(solver: Any, values: Any, ids: Sequence[str]) -> list[Answer]:
    """One answer for each question, in the order of the questions."""
    answers: list[Answer] = _listed(solver, "solve", values, Answer, "an Answer")
    if len(answers) != len(ids):
        raise wrong(
            solver, "solve", f"gave {len(answers)} answers to {len(ids)} questions; give one for each, in order"
        )
    for answer, identity in zip(answers, ids, strict=True):
        if answer.sample_id != identity:
            what = f"gave the answer to '{answer.sample_id}' in the place of '{identity}'"
            raise wrong(solver, "solve", f"{what}; answer in the order of the questions")
    return answers


def checked_answer(model: Any, answer: Any) -> str:
    """The id of the request that a model's answer is to; it has a text or says why there is none."""
    if not isinstance(answer, Answer):
        raise wrong(model, "answer", f"yielded {_kind(answer)}; yield an Answer for each request")
    if (answer.text is None) == (answer.error is None):
        what = "neither a text nor an error" if answer.text is None else "both a text and an error"
        raise wrong(model, "answer", f"gave an answer with {what}; give one of them")
    return answer.sample_id


def check_metric(metric: Metric, value: Any, values: Any, count: int) -> None:
    """A metric's value over ``count`` scores is a finite number or ``None``, and the mean of its ``values``."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value)):
        raise wrong(metric, "compute", f"returned {value!r}; return a finite number, or None where it is undefined")
    if values is None:
        return
    if not isinstance(values, np.ndarray) or values.shape != (count,) or values.dtype.kind not in "fiub":
        shape = f"shape {values.shape}" if isinstance(values, np.ndarray) else _kind(values)
        raise wrong(metric, "values", f"returned {shape} for {count} scores; return one number for each, or None")
    if np.isinf(values).any():
        raise wrong(metric, "values", "returned an infinite value; NaN is for a score that takes no part")
    taking = values[~np.isnan(values)]
    if value is not None and len(taking) and abs(taking.mean() - value) > 1e-6 * max(1.0, abs(float(value))):
        what = f"averages to {taking.mean():.6g}, but compute returned {float(value):.6g}"
        raise wrong(metric, "values", f"{what}; return None from values where the metric is no mean")


def wrong_stages(trainer: Trainer) -> str:
    """Why a trainer's stages cannot be trained, "" where they can."""
    try:
        stages = trainer.stage_list
        if not stages:
            raise wrong(trainer, "stage_list", "names no stage; a training has at least one")
        _listed(trainer, "stage_list", stages, Stage, "a Stage")
    except ComponentError as error:
        return str(error)
    except Exception as error:
        return f"{named(trainer, 'stage_list')} raised {told_error(error, type(trainer).__module__)}"
    return ""


class _Facts(BaseModel):
    """The facts of a stage that the core and the report read; others may be anything that JSON holds."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    steps: float = 0
    tokens: float = 0
    supervised_tokens: float = 0
    images: float = 0
    samples: float = 0
    dropped: dict[str, float] = {}
    curve: list[_Step] = []
    evaluations: list[_Step] = []


class _Step(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, defer_build=True)

    step: int


def checked_facts(trainer: Trainer, returned: Any) -> tuple[JsonObject, list[str]]:
    """The facts of a stage that can be recorded, and a line for each that cannot: no training is lost for one."""
    if not isinstance(returned, Mapping):
        what = f"returned {_kind(returned)}; return the facts of the stage as a table"
        return {}, [f"{named(trainer, 'train')} {what}; nothing is recorded of this stage"]
    facts: JsonObject = {}
    lines = []
    for name, value in ((str(name), value) for name, value in returned.items()):
        reason = not_json({name: value})
        try:
            _Facts.model_validate({name: value})
        except ValidationError as error:
            reason = reason or f"'{name}': {error.errors(include_url=False)[0]['msg']}, not {value!r:.60}"
        if reason:
            lines.append(f"{named(trainer, 'train')} returned a fact that cannot be recorded: {reason}; it is left out")
        else:
            facts[name] = value
    return facts, lines


def not_json(table: Mapping[str, Any]) -> str:
    """The first value of a table that JSON cannot hold, and why; "" for none. NaN, infinity, arrays, other objects."""
    for name, value in table.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            return f"'{name}': {error}; make it plain numbers, texts, lists and tables"
    return ""


def checked_files(reporter: Reporter, files: Any) -> list[Path]:
    """The files that a reporter wrote, each there."""
    for file in _listed(reporter, "write", files, Path, "a pathlib.Path"):
        if not file.exists():
            raise wrong(reporter, "write", f"returned {file}, which is not there; return the files that it has written")
    return list(files)
