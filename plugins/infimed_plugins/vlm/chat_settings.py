"""What of a conversation carries loss, and the template that writes it, where a run file says so."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from infimed_core import Turn

Supervise = Literal["marked", "last", "all"]
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")


@dataclass(frozen=True)
class ChatSettings:
    """As the model's settings say; ``template`` is the text of ``chat_template``, ``None`` the checkpoint's own."""

    supervise: Supervise = "marked"
    prompt_loss: bool = False
    template: str | None = None

    def apply(self, turns: Sequence[Turn]) -> Sequence[Turn]:
        """The turns with ``supervised`` as ``supervise`` says."""
        if self.supervise == "marked":
            return turns
        answers = [number for number, turn in enumerate(turns) if turn.role == "assistant"]
        wanted = set(answers if self.supervise == "all" else answers[-1:])
        return [
            turn if turn.role != "assistant" or turn.supervised == (number in wanted)
            else turn.model_copy(update={"supervised": number in wanted})
            for number, turn in enumerate(turns)
        ]  # fmt: skip

    def training_digest(self, digest: str) -> str:
        """``digest`` of what is asked, with what decides only which tokens carry loss."""
        if self.supervise == "marked" and not self.prompt_loss:
            return digest
        return hashlib.sha256(f"{digest}|{self.supervise}|{self.prompt_loss}".encode()).hexdigest()


def copy_preprocessing(source: Path, target: Path, names: Sequence[str], own_template: bool) -> None:
    """Copy a checkpoint's files; with ``own_template`` no template of the source is left beside the one written."""
    for name in names:
        file = source / name
        if not file.is_file() or file.resolve() == (target / name).resolve():
            continue
        if own_template and name in TEMPLATE_FILES:
            continue
        if own_template and name == "tokenizer_config.json":
            body = json.loads(file.read_text(encoding="utf-8"))
            body.pop("chat_template", None)
            (target / name).write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            continue
        shutil.copyfile(file, target / name)


def mistake_in(template: Path) -> str:
    """What keeps a file from being a chat template, as ``:LINE: ...``; "" where nothing does."""
    from jinja2 import Environment, TemplateSyntaxError

    try:
        text = template.read_text(encoding="utf-8")
        # Markers of transformers, which no other program knows.
        text = re.sub(r"{%([-+]?)\s*(?:end)?generation\s*([-+]?)%}", r"{%\1 set _ = 0 \2%}", text)
        Environment(extensions=["jinja2.ext.loopcontrols"], autoescape=False).parse(text)
    except TemplateSyntaxError as error:
        return f":{error.lineno}: is no template of Jinja: {error.message}"
    except (OSError, ValueError, RecursionError) as error:
        return f": cannot be read: {error}"
    return ""


def replaced_generation(checkpoint: Path) -> dict[str, Any]:
    """What ``generation_config.json`` says of how answers are drawn, which the run file's ``generation`` replaces."""
    try:
        body = json.loads((checkpoint / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(body, Mapping):
        return {}
    return {key: body[key] for key in sorted(_DRAWING) if body.get(key) is not None and body[key] != _DRAWING[key]}


_DRAWING: dict[str, Any] = {
    "do_sample": False,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 50,
    "min_p": 0.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "top_h": None,
    "num_beams": 1,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "length_penalty": 1.0,
    "early_stopping": False,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "max_length": 20,
    "max_new_tokens": None,
    "min_length": 0,
    "min_new_tokens": None,
    "bad_words_ids": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "sequence_bias": None,
    "penalty_alpha": None,
}
"""What of a generation config decides which tokens are drawn, with the value that changes nothing."""
