"""An lm-eval task as a benchmark: its prompts, its filters and its scoring, asked through our models."""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from infimed_core import Answer, Benchmark, Component, DataError, Fault, Generation, Media, Sample, Score, Turn

UNTRUSTED = (
    "task files are code: lm-eval runs the functions that they name (!function) and their templates as they are "
    "loaded, with all that you may do on this machine; read the files, then set trust_code: true"
)
"""Why a folder of task files is not read unless the run file says so."""


class LmEvalTask(Benchmark):
    """One generative (``generate_until``) task of lm-eval, text or image.

    A task that is scored by log-likelihood is refused: an answer that was generated cannot be scored that way.
    """

    packages: ClassVar[Mapping[str, str]] = {"lm_eval": "infimed[lm-eval]"}

    version: ClassVar[str] = "1"
    baseline_by: ClassVar[tuple[str, ...]] = ("source",)

    task: str = Field(description="Name of an lm-eval task.")
    include_path: str | None = Field(default=None, description="Folder with further task files; needs trust_code.")
    trust_code: bool = Field(
        default=False, description="Run the code that task files of include_path hold. It can do anything."
    )
    num_fewshot: int | None = Field(default=None, ge=0, description="Overrides the task's number of examples.")
    metric: str | None = Field(default=None, description="The task's metric to score by; its first one by default.")

    def problems(self, run: Mapping[str, Component]) -> Mapping[str, str]:
        """A folder that is not there; whether lm-eval has the task is asked when it is read."""
        if self.include_path is None:
            return {}
        if not Path(self.include_path).is_dir():
            return {"include_path": f"{self.include_path}: no such folder"}
        return {} if self.trust_code else {"include_path": f"{self.include_path}: {UNTRUSTED}"}

    @cached_property
    def _task(self) -> Any:
        if self.include_path is not None and not self.trust_code:
            raise DataError("untrusted_code", f"include_path {self.include_path}: {UNTRUSTED}")
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_path=self.include_path, include_defaults=not self._is_in_folder())
        if self.task not in manager.all_tasks:
            raise DataError("no_such_task", f"lm-eval has no task '{self.task}'; `lm-eval ls tasks` lists them")
        task = manager.load([self.task])["tasks"][self.task]
        if task.OUTPUT_TYPE != "generate_until":
            raise DataError(
                "not_generative",
                f"lm-eval's task '{self.task}' is scored by {task.OUTPUT_TYPE}, which a generated answer cannot give; "
                "use a generate_until variant of it (many end in _gen or _generative)",
            )
        if self.num_fewshot is not None:
            task.set_config("num_fewshot", self.num_fewshot)
        return task

    def _is_in_folder(self) -> bool:
        """Whether the folder itself has the task, so that lm-eval's thousands need not be read."""
        folder = Path(self.include_path) if self.include_path else None
        return folder is not None and any(f"task: {self.task}\n" in f.read_text() for f in folder.rglob("*.yaml"))

    @cached_property
    def _instances(self) -> list[Any]:
        self._task.build_all_requests(limit=None, rank=0, world_size=1)
        return list(self._task.instances)

    def samples(self) -> Iterator[Sample | Fault]:
        """The task's test (or validation) documents, each as lm-eval words it."""
        for number, instance in enumerate(self._instances):
            context = instance.args[0]
            pictures = instance.args[2].get("visual", []) if len(instance.args) > 2 else []
            media = tuple(_as_media(picture) for picture in pictures)
            target = self._task.doc_to_target(instance.doc)
            references = tuple(str(t) for t in target) if isinstance(target, list) else (str(target),)
            yield Sample(
                id=f"{self.task}-{instance.doc_id}",
                turns=(Turn(role="user", content=(*range(len(media)), context.replace("<image>", ""))),),
                media=media,
                references=references,
                tags={"source": f"lm-eval/{self.task}"},
                meta={"instance": number},
            )

    def generation(self) -> Generation:
        """The task's own generation settings."""
        settings = self._task.config.generation_kwargs or {}
        until = settings.get("until") or ()
        sampled = bool(settings.get("do_sample", False))
        return Generation(
            max_new_tokens=int(settings.get("max_gen_toks", 256)),
            temperature=float(settings.get("temperature", 0.0)) if sampled else 0.0,
            stop=(until,) if isinstance(until, str) else tuple(until),
        )

    def grade(self, sample: Sample, answer: Answer, scoring: str) -> Score:
        """The task's first filter and then its own metric, on this answer alone."""
        instance = copy.copy(self._instances[int(str(sample.meta["instance"]))])
        text = answer.text or ""
        for stop in self.generation().stop:
            if stop:
                text = text.split(stop)[0]
        instance.resps, instance.filtered_resps = [text], {}
        ensemble = self._task._filters[0]
        ensemble.apply([instance])
        metrics = self._task.process_results(instance.doc, [instance.filtered_resps[ensemble.name]])
        name = self.metric or next(iter(metrics))
        value = metrics.get(name)
        if isinstance(value, bool | int | float) and 0 <= value <= 1:
            return Score(value=float(value), note=str(instance.filtered_resps[ensemble.name]))
        return Score(status="unscored", reasons=("no_unit_value",), note=f"{name} gave {value!r}")


def _as_media(picture: Any) -> Media:
    target = io.BytesIO()
    picture.convert("RGB").save(target, format="PNG")
    data = target.getvalue()
    return Media(data=data, sha256=hashlib.sha256(data).hexdigest())
