"""What a reader must hear before the figures: answers that could not be read, models no better than not looking."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infimed_core import MetricValue
from infimed_core.records import BASELINE, CONSTANT_LETTER, IMAGE_BLIND, RunRecord, is_baseline
from infimed_plugins.reporting.page.answers import AnswerTables
from infimed_plugins.reporting.page.figures import count, mapping
from infimed_plugins.reporting.page.names import does_not_look, has_training, own_name
from infimed_plugins.reporting.page.tables import NO_VALUE, first_scorings, metric_of

FEWEST_READ = 0.98
"""The share of questions with an answer that could be read, below which a result is introduced by what is missing."""
FEWEST_ALIKE = 5
"""Questions of one wording about different pictures, from which one answer to all of them says something."""
FEW_MODELS = 2
"""Models of which one and the same is said in a sentence each; what is true of more is said of all at once."""
FEWEST_OF_A_FORM = 20
"""Questions of one form from which its value says something."""
REASONS = {
    "refusal": "refused",
    "content_filter": "refused by a filter",
    "truncated": "cut off at the length limit",
    "empty": "empty",
    "empty_answer": "empty",
    "needs_judge": "need a judge",
    "no_verdict": "got no verdict of the judge",
    "grading_failed": "the grader failed on",
    "unreadable": "name no clear answer",
    "loop": "go round in circles",
    "contradiction": "contradict themselves",
    "several_answers": "name several answers",
    "no_option": "name no option",
    "no_log_likelihoods": "came without likelihoods",
    "no_such_option": "name an option that there is not",
}


@dataclass(frozen=True)
class Unread:
    """Answers of a model to a benchmark that do not show whether it is right.

    ``bounds`` are the metric's value over all questions were each of these wrong, or right; ``None`` of another metric
    than a share of right answers.
    """

    benchmark: str
    model: str
    num_asked: int
    num_read: int
    num_errors: int
    reasons: tuple[tuple[str, int], ...]
    bounds: tuple[float, float] | None

    @property
    def line(self) -> str:
        """One sentence or two for people."""
        share = self.num_read / self.num_asked if self.num_asked else 0.0
        parts = [
            f"{number:,} {REASONS.get(reason, 'unread: ' + reason.replace('_', ' '))}"
            for reason, number in self.reasons
        ]
        if self.num_errors:
            parts.append(f"{self.num_errors:,} without an answer (each answer names its error)")
        text = f"{self.model} on {self.benchmark}: {self.num_read:,} of {self.num_asked:,} answers could be read"
        text += f" ({share:.1%})" + (f"; {', '.join(parts)}" if parts else "")
        if self.bounds is None:
            return text + "."
        low, high = self.bounds
        return f"{text}. Its accuracy is {low:.3f} if all of these are wrong and {high:.3f} if all are right."


def unread_of(details: Mapping[str, Any], benchmark: str, model: str, metric: str, value: MetricValue) -> Unread | None:
    """What is missing of a result; ``None`` where nearly every answer could be read. ``details`` are the step's."""
    num_errors = int(count(details.get("errors")))
    num_answers = value.num_scored if value.num_counted is None else value.num_counted
    # a measure of some of the questions counts those alone
    num_asked = max(num_answers, value.num_scored + value.num_unscored - num_errors) + num_errors
    if not num_asked or value.num_scored >= FEWEST_READ * num_asked:
        return None
    reasons = Counter({str(key): int(count(number)) for key, number in mapping(details.get("unread")).items()})
    bounds = None
    if metric == "accuracy" and value.num_counted is not None and value.value is not None:
        right = value.value * num_answers
        unread = num_answers - value.num_scored + num_errors
        bounds = right / num_asked, (right + unread) / num_asked
    return Unread(benchmark, model, num_asked, value.num_scored, num_errors, tuple(reasons.most_common()), bounds)


def unread(record: RunRecord) -> list[Unread]:
    """What is missing of every result of a model under the scoring that counts, the most first."""
    details = {
        (step.subject.get("benchmark"), step.subject.get("model")): step.details
        for step in record.steps
        if step.kind == "evaluate"
    }
    scorings = first_scorings(record)
    found = []
    for row in record.results:
        if row.group or row.scoring != scorings[row.benchmark] or is_baseline(row.model):
            continue
        if does_not_look(record, row.model):
            continue
        metric = metric_of([row])
        facts = details.get((row.benchmark, row.model), {})
        one = unread_of(facts, row.benchmark, own_name(record, row.model), metric, row.metrics.get(metric, NO_VALUE))
        if one is not None:
            found.append(one)
    return sorted(found, key=lambda one: one.num_read / one.num_asked)


def unread_lines(found: Sequence[Unread]) -> Iterator[tuple[str, str]]:
    """For every model with missing answers its name and a text of a line for each benchmark.

    Benchmarks of which no question got an answer share a line, for their reason is told elsewhere.
    """
    for model in dict.fromkeys(one.model for one in found):
        own = [one for one in found if one.model == model]
        silent = [one for one in own if one.num_errors == one.num_asked]
        lines = [one.line for one in own if len(silent) < 2 or one not in silent]
        if len(silent) > 1:
            counts = ", ".join(f"{one.num_asked:,} of {one.benchmark}" for one in silent)
            lines.insert(0, f"{model}: none of its questions got an answer ({counts}).")
        yield model, "\n".join(lines)


def judged_models(record: RunRecord) -> list[str]:
    """The models that a reader wants to know the worth of: all that look, or of a training the last one."""
    models = list(dict.fromkeys(row.model for row in record.results if not is_baseline(row.model)))
    chosen = models[-1:] if has_training(record) else models
    return [model for model in chosen if not does_not_look(record, model)]


def from_files(record: RunRecord) -> Iterator[str]:
    """A sentence where answers were not asked for but read from files: of which, and how many belong to a question."""
    told: dict[str, str] = {}
    for step in record.steps:
        asking = mapping(step.details.get("asking")) if step.kind == "evaluate" else {}
        if "layout" in asking and "predictions" in asking:
            num, left = int(count(asking.get("matched"))), int(count(asking.get("answers_to_no_question")))
            faults = int(count(asking.get("rows_at_fault")))
            name = Path(str(asking.get("path"))).name
            text = f"{num:,} answers of {name}, placed by {asking.get('matched_by') or 'nothing'}"
            text += f", {left:,} belong to no question" if left else ""
            text += f", {faults:,} rows cannot be read" if faults else ""
            model = own_name(record, step.subject.get("model", ""))
            told[model] = f"{told[model]}; {text}" if model in told else f"{model}: {text}"
    if told:
        yield (
            f"The answers were read from files ({'; '.join(told.values())}). How they were asked for is not known "
            "here; what differs may be the prompt."
        )


def no_model(record: RunRecord) -> Iterator[str]:
    """A sentence where every model of the run answers without looking."""
    models = list(dict.fromkeys(row.model for row in record.results if not is_baseline(row.model)))
    if models and all(does_not_look(record, model) for model in models):
        yield f"No model of this run looks at the questions ({', '.join(models)}): its figures say nothing of a model."


def no_better(record: RunRecord) -> Iterator[str]:
    """Of every model that is not better than a constant answer or than itself without the images: a sentence."""
    scorings, models = first_scorings(record), judged_models(record)
    said = {BASELINE: "the most common answer", CONSTANT_LETTER: "one letter throughout"}
    found: dict[tuple[str, str, str], list[str]] = {}
    for one in record.comparisons:
        blind = one.against == one.model + IMAGE_BLIND
        sign = 1.0 if one.higher_is_better else -1.0
        if one.scoring != scorings.get(one.benchmark) or one.model not in models or not (blind or one.against in said):
            continue
        if min(sign * one.low, sign * one.high) <= 0:
            what = "itself without the images" if blind else said[one.against]
            figures = f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}], n {one.num_pairs:,}"
            is_worse = max(sign * one.low, sign * one.high) < 0
            verdict = "worse" if is_worse else "not shown to be better"
            found.setdefault((one.model, verdict, what), []).append(f"{one.benchmark} ({figures})")
    alike = Counter((verdict, what) for _, verdict, what in found)
    for (model, verdict, what), places in found.items():
        if alike[verdict, what] <= FEW_MODELS:
            yield f"{own_name(record, model)} is {verdict} than {what} on {', '.join(places)}."
    for verdict, what in (key for key, number in alike.items() if number > FEW_MODELS):
        told = [
            f"{own_name(record, model)} on {', '.join(place.rpartition(' (')[0] for place in places)}"
            for (model, *rest), places in found.items()
            if rest == [verdict, what]
        ]
        others = what.replace("itself", "themselves")
        yield f"These are {verdict} than {others} (figures in the tables): {'; '.join(told)}."


def same_answers(record: RunRecord, tables: AnswerTables) -> Iterator[str]:
    """Of every model that answers each wording of a question alike, whatever the picture: a sentence."""
    models = judged_models(record)
    given: dict[tuple[int, int], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in tables.answers:
        question = tables.questions[row[0]]
        if question[6] and row[2] is not None:
            asked = str(question[2][-1][1] if question[2] else "") + str(question[3])
            given[question[0], row[1]][asked].append(" ".join(str(row[2]).casefold().split()))
    for (benchmark, model), wordings in given.items():
        name = tables.models[model]
        asked_often = [answers for answers in wordings.values() if len(answers) >= FEWEST_ALIKE]
        if name not in models or not asked_often:
            continue
        num = sum(map(len, asked_often))
        if all(len(set(answers)) == 1 for answers in asked_often):
            where = tables.benchmarks[benchmark]
            yield (
                f"{own_name(record, name)} on {where} gives one answer to each wording of a question, whatever the "
                f"picture: {num:,} questions of {len(asked_often):,} wordings."
            )


def weak_forms(record: RunRecord) -> Iterator[str]:
    """Of every model that does no better than the most common answer on some form of question: a sentence.

    Only where it is better on the whole, for else ``no_better`` has said so.
    """
    scorings = first_scorings(record)
    values: dict[tuple[str, str, str], MetricValue] = {}
    for row in record.results:
        if row.scoring == scorings[row.benchmark] and set(row.group) <= {"form"}:
            values[row.benchmark, row.model, row.group.get("form", "")] = row.metrics.get(metric_of([row]), NO_VALUE)
    lower = {(one.benchmark, one.model) for one in record.comparisons if not one.higher_is_better}
    for model in judged_models(record):
        told: dict[str, list[str]] = {}
        for (benchmark, name, form), value in values.items():
            constant = values.get((benchmark, BASELINE, form), NO_VALUE)
            if name != model or value.value is None or constant.value is None or (benchmark, model) in lower:
                continue
            whole, whole_constant = (values.get((benchmark, one, ""), NO_VALUE).value for one in (model, BASELINE))
            if whole is not None and whole_constant is not None and whole <= whole_constant:
                continue
            if form and value.value <= constant.value and value.num_scored + value.num_unscored >= FEWEST_OF_A_FORM:
                num = value.num_scored + value.num_unscored
                told.setdefault(benchmark, []).append(
                    f"{form} {value.value:.3f} against {constant.value:.3f}, n {num:,}"
                )
        for benchmark, forms in told.items():
            yield (
                f"{own_name(record, model)} on {benchmark} does no better than the most common answer on these forms "
                f"of question: {'; '.join(forms)}."
            )
