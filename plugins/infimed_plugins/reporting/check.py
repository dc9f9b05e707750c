"""``infimed check``: every mistake of a run file at once, without a run."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from infimed_core import (
    InfimedError,
    Model,
    Packer,
    Plan,
    Registry,
    Trainer,
    load_run_file,
    mixing_warnings,
    parse_changes,
    printable,
    read_named,
)
from infimed_plugins.reporting.check_tags import tag_doubts


def check(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A run file (YAML).", metavar="FILE")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one value, as in training.with.seed=1.", metavar="PATH=VALUE"),
    ] = None,
    connect: Annotated[bool, typer.Option("--connect", help="Ask every server of the file one question.")] = False,
) -> None:
    """Check a run file: every mistake at once, with its line and its remedy."""
    gc.disable()  # nothing made here is garbage, and looking for some costs a tenth of the command
    changes = parse_changes(set_ or ())
    try:
        lines, num_unreachable = lines_about(file, context.obj, changes), 0
    except InfimedError as error:
        if (tool := recipe_of_another_tool(file)) is None:
            raise
        text = f"{file}: is a recipe of {tool} and no run file; make one of it: infimed convert {tool.lower()} {file}"
        raise InfimedError(text) from error
    if connect:
        replies, num_unreachable = connections(load_run_file(file, context.obj, changes))
        lines = [*lines[:-1], *replies, *(lines[-1:] if not num_unreachable else ())]
    for line in lines:
        typer.echo(printable(f"{file}: {line}"))
    if num_unreachable:
        raise typer.Exit(1)


_OF_SWIFT = {
    "dataset", "tuner_type", "train_type", "sft_type", "rlhf_type", "model_id_or_path", "torch_dtype", "max_length",
    "split_dataset_ratio", "target_modules", "freeze_vit", "attn_impl", "lora_rank", "num_train_epochs",
    "per_device_train_batch_size", "learning_rate", "load_from_cache_file",
}  # fmt: skip
"""Keys that a YAML of ms-swift has at its top, and no run file."""


_STARTED = {
    "ms-swift": r"(?:swift (?:sft|rlhf)|(?:\S*/)?swift/cli/(?:sft|rlhf)\.py)",
    "LLaMA-Factory": r"(?:llamafactory-cli|lmf) train",
}
"""The commands that a script of each tool starts."""


def recipe_of_another_tool(file: Path) -> str | None:
    """The tool that a file is for, where `infimed convert` knows it: by keys or a command that no run file has."""
    try:
        text = read_named(file).decode()
    except (OSError, UnicodeDecodeError):
        return None
    for tool, started in _STARTED.items():
        if re.search(rf"^[ \t]*(?:[^\s#]\S*[ \t]+)*?{started}(?![\w/])", text, re.MULTILINE):
            return tool
    keys = set(re.findall(r"^(\w+)\s*:", text, re.MULTILINE))
    if len(keys & {"model_name_or_path", "finetuning_type", "dataset", "stage"}) > 1:
        return "LLaMA-Factory"
    return "ms-swift" if len(keys & _OF_SWIFT) > 1 else None


def connections(plan: Plan) -> tuple[list[str], int]:
    """What every server of a run file answers to a question, and how many do not answer."""
    replies, num_unreachable = [], 0
    for place, component in plan.components.items():
        try:
            reply = component.try_connection() if isinstance(component, Model) else None
        except InfimedError as error:
            reply, num_unreachable = str(error), num_unreachable + 1
        if reply is not None:
            replies.append(f"{place}: {reply}")
    return replies, num_unreachable


def lines_about(file: Path, registry: Registry, changes: dict[str, Any]) -> list[str]:
    """What there is to say of a run file that can be used.

    Raises:
        InfimedError: with every mistake of the file, or of its variants.
    """
    plan = load_run_file(file, registry, changes)
    if plan.file.sweep is not None:
        from infimed_plugins.reporting.sweep.grid import load_variants, variants_of

        load_variants(file, registry, variants_of(plan, {}), changes)
    sections = {
        name: getattr(plan.file, name) for name in type(plan.file).model_fields if name not in ("run", "plugins")
    }
    steps = ", ".join(name for name, section in sections.items() if section)
    if refused := refused_directory(Path(plan.file.run.directory) / plan.file.run.name):
        raise InfimedError(f"{file}: run.directory: {refused}")
    try:
        lines = [f"{place}: {doubt}" for place, component in plan.components.items() for doubt in component.doubts()]
    except ImportError as error:
        raise InfimedError(f"{file}: the package {error.name}, which it needs, is not installed") from None
    lines += tag_doubts(plan)
    lines += [f"warning: {text}" for text in plan_warnings(plan)]
    return [*lines, f"ok ({steps or 'no steps'}; {len(plan.components)} components)"]


def refused_directory(run: Path) -> str:
    """Why a run cannot be made at a place, found out by trying; "" where it can."""
    place = next(folder for folder in (run, *run.absolute().parents) if folder.exists())
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".infimed-check-", dir=place))
    except OSError as error:
        return (
            f"{run} cannot be written ({error.strerror or error}); set run.directory to a place that is yours to "
            "write, or give it to the user who runs this"
        )
    if (run / "run.json").is_file():
        from infimed_core.records import open_run

        try:
            open_run(run)
        except InfimedError as error:  # other damage is mended by the run
            return str(error) if "made by a later version" in str(error) else ""
    return ""


def plan_warnings(plan: Plan) -> list[str]:
    """What is known of the mixing of the stages' steps: from the settings, or from the plans of an earlier run."""
    trainer = plan.components.get("training")
    if not isinstance(trainer, Trainer):
        return []
    mixing: dict[str, Any] = {}
    directory = Path(plan.file.run.directory) / plan.file.run.name
    if (directory / "run.json").is_file():
        from infimed_core.records import open_run

        with contextlib.suppress(InfimedError):  # a run that this version cannot read
            steps = open_run(directory).steps("plan")
            mixing = {step.subject["stage"]: step.details.get("mixing", {}) for step in steps}
    warnings = []
    for stage in trainer.stage_list:
        packer = plan.components.get(f"stages.{stage.name}.packing") or plan.components.get("packing")
        most = packer.most_in_row if isinstance(packer, Packer) else None
        warnings += mixing_warnings(stage, mixing.get(stage.name, {}), most)
    return warnings
