"""``infimed ask``: one question to a checkpoint or a server, or a chat at the terminal."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from infimed_core import DataError, Generation, InfimedError, Registry, load_plugins, printable
from infimed_plugins.checkpoints.conversation import Conversation
from infimed_plugins.checkpoints.places import make_model, media_of

COMMANDS = "/image FILE shows an image, /new begins anew, /quit ends (as Ctrl-D does)"


def ask(
    context: typer.Context,
    checkpoint: Annotated[
        str, typer.Argument(help="A directory, RUN, RUN/STAGE, a name on the hub, or a server's http address.")
    ],
    question: Annotated[str | None, typer.Argument(help="Without it a chat begins.", metavar="[QUESTION]")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="A picture, DICOM or NIfTI file; repeat for more.")] = None,
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 512,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 always takes the likeliest token.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of answers that are drawn.")] = 0,
    max_visual_tokens: Annotated[int | None, typer.Option(min=1, help="Most visual tokens of an image.")] = None,
    base: Annotated[str | None, typer.Option(help="The base of an adapter, where it does not tell it.")] = None,
    model: Annotated[str | None, typer.Option(help="The model's name on a server.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: text and token counts.")] = False,
) -> None:
    """Ask a checkpoint or a server one question, or chat with it. No medical device: not for decisions on patients."""
    registry = context.obj if isinstance(context.obj, Registry) else load_plugins()
    shown = media_of(image or [])
    if question is None and as_json:
        raise InfimedError("--json answers one question; give it after the checkpoint")
    settings = {"base": base, "model": model, "device": device, "answer_max_visual_tokens": max_visual_tokens}
    component = make_model(registry, checkpoint, **settings)
    loaded = component.load(None)
    generation = Generation(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    talk = Conversation(loaded, registry.media_loader(), generation, system, waiting=list(shown))
    if question is None:
        chat(talk)
        return
    answer = talk.ask(question)
    if as_json:
        kept = {"text", "num_prompt_tokens", "num_answer_tokens", "finish_reason"}
        typer.echo(json.dumps(answer.model_dump(mode="json", include=kept), indent=1))
        return
    typer.echo(printable(answer.text or ""))
    if answer.finish_reason == "length":
        typer.echo(f"(cut after {max_new_tokens} tokens; --max-new-tokens allows more)", err=True)


def chat(talk: Conversation) -> None:
    """Questions from the terminal until it ends; what cannot be asked is told, and the chat goes on.

    A person's Ctrl-C ends an answer that is being made, and at the prompt the chat.
    """
    is_person = sys.stdin.isatty()
    if is_person:
        with suppress(ImportError):  # not on Windows, whose terminal does the same by itself
            import readline  # noqa: F401  (lines are edited, and earlier ones come back)
        typer.echo(f"{COMMANDS}. Not a medical device.", err=True)
    while True:
        try:
            line = input("> " if is_person else "").strip()
        except (EOFError, KeyboardInterrupt):
            if is_person:
                typer.echo(err=True)
            return
        if line in ("/quit", "/exit"):
            return
        try:
            _do(talk, line)
        except InfimedError as error:
            typer.echo(printable(str(error)), err=True)
        except KeyboardInterrupt:
            if not is_person:
                raise
            typer.echo("\n(stopped: the question is as if never asked)", err=True)


def _do(talk: Conversation, line: str) -> None:
    word, _, rest = line.partition(" ")
    if word == "/image" and rest.strip():
        (item,) = media_of([Path(rest.strip())])
        size = talk.show(item)
        typer.echo(f"(an image of {' x '.join(map(str, reversed(size)))} goes before your next question)", err=True)
    elif word == "/new":
        talk.forget()
    elif line.startswith("/"):
        raise DataError("unknown_command", f"{word}: no such command; {COMMANDS}")
    elif line:
        answer = talk.ask(line)
        typer.echo(printable(answer.text or ""))
