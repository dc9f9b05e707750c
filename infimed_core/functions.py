"""Decorators that make a component of a function, and that offer a component without a hook."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from infimed_core.api.component import Component
from infimed_core.api.data import DatasetFilter, FilterResult, Score
from infimed_core.api.evaluation import AnswerMetric, Metric, Solver
from infimed_core.api.learning import Augmentation, Optimizer, Schedule
from infimed_core.api.models import Generation
from infimed_core.api.objectives import Reward
from infimed_core.api.quality import Curriculum, Scorer
from infimed_core.errors import DataError, PluginError
from infimed_core.hookspecs import KINDS
from infimed_core.plugin_files import OFFERED

Function = Callable[..., Any]


class Form(NamedTuple):
    """What a function of a kind may take, and from it and its name the members of the class that calls it."""

    takes: tuple[str, ...]
    base: type[Component]
    members: Callable[[Function, str], dict[str, Any]]


def _mean_metric(function: Function, name: str) -> dict[str, Any]:
    def answer_values(self: Metric, rows: Sequence[Any]) -> NDArray[np.float64]:
        return np.array([function(row) for row in rows], dtype=np.float64)  # of None it makes NaN

    def compute_answers(self: Metric, rows: Sequence[Any]) -> float | None:
        values = answer_values(self, rows)
        return None if np.isnan(values).all() else float(np.nanmean(values))

    return {"answer_values": answer_values, "compute_answers": compute_answers}


def _score(part: str, call: Function, *given: Any) -> Score:
    """What a function gives, a number or ``None`` or a score, as a score with one part."""
    try:
        value = call(*given)
    except DataError as error:
        return Score(status="error", reasons=(error.code,), parts={part: None})
    if value is None:
        return Score(status="unscored", reasons=("no_value",), parts={part: None})
    return value if isinstance(value, Score) else Score(value=float(value), parts={part: float(value)})


def _scorer(function: Function, name: str) -> dict[str, Any]:
    part = name.replace("-", "_")
    return {
        "dimensions": (part,),
        "score": lambda self, samples, media: [_score(part, function, sample, media) for sample in samples],
    }


def _reward(function: Function, name: str) -> dict[str, Any]:
    part = name.replace("-", "_")
    return {"score": lambda self, rollouts: [_score(part, function, rollout) for rollout in rollouts]}


def _rejected(reasons: Any) -> Any:
    if not isinstance(reasons, Mapping):
        return reasons
    return FilterResult(rejected={key: (why,) if isinstance(why, str) else tuple(why) for key, why in reasons.items()})


def _filter_one(function: Function, name: str) -> dict[str, Any]:
    def check(self: Component, samples: Any, benchmarks: Any, media: Any, executor: Any) -> Any:
        return _rejected({sample.id: why for sample in samples if (why := function(sample, media))})

    return {"check": check}


FORMS: dict[str, tuple[Form, ...]] = {
    "metric": (
        Form(("answer",), AnswerMetric, _mean_metric),
        Form(("answers",), AnswerMetric, lambda call, _: {"compute_answers": lambda self, rows: call(rows)}),
        Form(("scores",), Metric, lambda call, _: {"compute": lambda self, scores: call(scores)}),
    ),
    "scorer": (Form(("sample", "media"), Scorer, _scorer),),
    "reward": (Form(("rollout",), Reward, _reward),),
    "filter": (
        Form(("sample", "media"), DatasetFilter, _filter_one),
        Form(("samples", "benchmarks", "media", "executor"), DatasetFilter, lambda call, _: {
            "check": lambda self, samples, benchmarks, media, executor: _rejected(
                call(samples, benchmarks, media, executor))
        }),
    ),
    "optimizer": (Form(("groups",), Optimizer, lambda call, _: {"build": lambda self, groups: call(groups)}),),
    "schedule": (Form(("progress",), Schedule, lambda call, _: {"factor": lambda self, progress: call(progress)}),),
    "augmentation": (Form(("image", "generator"), Augmentation, lambda call, _: {
        "augment": lambda self, image, generator: call(image, generator)
    }),),
    "curriculum": (Form(("sample",), Curriculum, lambda call, _: {"difficulties": lambda self, xs: map(call, xs)}),),
    "solver": (
        Form(("samples", "ask", "generation"), Solver, lambda call, _: {
            "solve": lambda self, samples, ask, generation: call(samples, ask, generation or Generation())
        }),
    ),
}  # fmt: skip
"""By kind, what a function of it may look like; its first parameter says which."""


def _class_of(kind: str, function: Function, name: str) -> type[Component]:
    """The component class that calls a function.

    Raises:
        PluginError: the function takes something that functions of this kind are not given.
    """
    taken = list(inspect.signature(function).parameters)
    form = next((form for form in FORMS[kind] if taken[:1] == [form.takes[0]]), None)
    if form is None or set(taken) - set(form.takes):
        choices = " or ".join(f"({', '.join(form.takes)})" for form in FORMS[kind])
        raise PluginError(f"the {kind} '{function.__name__}' must take {choices}, not ({', '.join(taken)})")

    def call(*given: Any) -> Any:
        return function(**{key: value for key, value in zip(form.takes, given, strict=True) if key in taken})

    copied = {key: getattr(function, key) for key in ("__module__", "__qualname__", "__doc__")}
    members = {**copied, "__wrapped__": function, **form.members(call, name)}
    made: Any = type(form.base)
    return cast(type[Component], made(function.__name__, (form.base,), members))


def _decorator(kind: str) -> Function:
    def decorate(thing: Any = None, /, *, name: str = "", **attributes: Any) -> Any:
        if thing is None or isinstance(thing, str):
            return lambda inner: decorate(inner, name=name or thing or "", **attributes)
        called = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", "-", thing.__name__).lower()
        made: type[Component] = thing if isinstance(thing, type) else _class_of(kind, thing, called)
        hooks = [each.hook for key, each in KINDS.items() if kind in ("", key) and issubclass(made, each.base)]
        if not hooks:
            raise PluginError(f"{made.__name__} is no {kind or 'component'}; derive it from a class of infimed_core")
        for attribute, value in attributes.items():
            if attribute not in made.__class_vars__:
                raise PluginError(f"the {kind} '{called}' has no attribute '{attribute}'")
            setattr(made, attribute, value)
        setattr(made, OFFERED, (hooks[0], called))
        return made

    decorate.__doc__ = f"Above a function: makes a {kind} of it and offers it." if kind else "Above a class: offers it."
    return decorate


metric, scorer, dataset_filter, solver, reward = map(_decorator, ("metric", "scorer", "filter", "solver", "reward"))
optimizer, schedule, augmentation, curriculum = map(_decorator, ("optimizer", "schedule", "augmentation", "curriculum"))
offer = _decorator("")
"""Above a class: offers it without a hook, under its name in small letters or the one that is given."""
