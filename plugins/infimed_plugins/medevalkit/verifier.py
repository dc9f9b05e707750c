"""A small verifier as judge: a model trained to say whether an answer agrees with its reference, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from infimed_core import Answer, ComponentRef, Generation, LoadedModel, MediaLoader, Model, Request, Turn, load_plugins
from infimed_plugins.medevalkit.answers.prepared import prepare
from infimed_plugins.medevalkit.judging import open_parts

PROMPTS = {
    "xverify": (
        "Decide whether the output sentence answers the question as the correct answer does. Reply with [Correct] or "
        '[Incorrect] and nothing else.\n\nQuestion: """{question}"""\n\nOutput sentence: """{answer}"""\n\n'
        "Correct answer: {reference}\n\nJudgement:"
    ),
    "compassverifier": (
        "Compare the candidate's answer with the standard answer. Reply with one letter: A if they agree (CORRECT), "
        "B if they do not (INCORRECT), C if the answer is broken off, repeats itself or refuses (INVALID).\n\n"
        "<Original Question Begin>:\n{question}\n<Original Question End>\n"
        "<Standard Answer Begin>:\n{reference}\n<Standard Answer End>\n"
        "<Candidate's Answer Begin>:\n{answer}\n<Candidate's Answer End>\n\n"
        "Judging the correctness of the candidate's answer:"
    ),
}
"""What each family is asked, in the fields of its published format; ``prompt`` takes the authors' own wording."""

_VERDICTS = {
    "xverify": re.compile(r"\b(?P<yes>correct)\b|\b(?P<no>incorrect)\b", re.IGNORECASE),
    "compassverifier": re.compile(
        r"(?<![A-Za-z])(?:(?P<yes>A|CORRECT)|(?P<no>B|INCORRECT)|"
        r"(?P<none>C|INVALID))(?![A-Za-z])"
    ),
}


class Verifier(Model):
    """Puts the open answers that it is given before a verifier of the xVerify or CompassVerifier kind.

    ``model`` is any model of the run file's kinds: a local checkpoint or a server.
    """

    nested: ClassVar = {"model": "model"}
    trainable: ClassVar[bool] = False

    model: ComponentRef = Field(description="The verifier itself: a checkpoint, or a server that has it.")
    format: Literal["xverify", "compassverifier"] = Field(description="Whose prompt and verdicts it knows.")
    prompt: str | None = Field(
        default=None, description="The authors' prompt, with {question}, {reference} and {answer} where they belong."
    )

    def _opened(self) -> Model:
        made: Model = load_plugins().find("model", self.model.use).model_validate(self.model.settings)  # type: ignore[assignment]
        return made

    def prepare(self, directory: Path, texts: Callable[[], Iterable[str]], seed: int) -> Path | None:
        """As the verifier's own model."""
        return self._opened().prepare(directory, texts, seed)

    def load(self, checkpoint: Path | None) -> LoadedModel:
        """The verifier, asked in its own format."""
        return _Loaded(self, self._opened().load(checkpoint))


class _Loaded(LoadedModel):
    def __init__(self, settings: Verifier, inner: LoadedModel) -> None:
        self._settings, self._inner = settings, inner

    @property
    def identity(self) -> str:
        """The verifier's weights, and how it is asked."""
        return f"{self._settings.format}|{self._settings.prompt or ''}|{self._inner.identity}"

    def answer(self, requests: Sequence[Request], media: MediaLoader) -> Iterator[Answer]:
        """The verdict on every open answer as the JSON object that a judge is asked for.

        A reply that is no verdict comes back as it is; a request that is about no open answer is an error.
        """
        asked = []
        for request in requests:
            parts = open_parts(request)
            if parts is None:
                yield Answer(sample_id=request.sample_id, error="not_open: a verifier decides open answers alone")
                continue
            template = self._settings.prompt or PROMPTS[self._settings.format]
            text = template
            for name, value in parts.items():
                text = text.replace(f"{{{name}}}", value)
            turns = (Turn(role="user", content=(text,)),)
            asked.append(request.model_copy(update={"turns": turns, "generation": Generation(max_new_tokens=256)}))
        for answer in self._inner.answer(asked, media):
            verdict = read_verdict(answer.text, self._settings.format) if answer.text is not None else None
            if verdict is None:
                yield answer
                continue
            body = {"reason": f"verifier: {(answer.text or '').strip()[:200]}", "correct": verdict}
            yield answer.model_copy(update={"text": json.dumps(body, ensure_ascii=False)})

    def describe(self) -> dict[str, JsonValue]:
        """As the verifier's own model."""
        return self._inner.describe()

    def asking(self) -> dict[str, JsonValue]:
        """The format, and how the model itself is asked."""
        return {"format": self._settings.format, **self._inner.asking()}


def read_verdict(reply: str, format: str) -> bool | None:
    r"""The verdict of a reply: its last word of a verdict, outside a thought; ``None`` where it gives none.

    Of CompassVerifier a letter or a word, alone, in ``\boxed{}`` or after "Final Judgment:"; INVALID is none.
    """
    prepared = prepare(reply)
    text = prepared.marks[-1] if prepared.marks else prepared.text
    _, labelled, final = text.rpartition("Final Judgment:")  # what comes after its verdict is its reasons
    found = list(_VERDICTS[format].finditer(final))
    if not found or prepared.cut:
        return None
    last = found[0] if labelled else found[-1]
    return None if last.groupdict().get("none") else last["yes"] is not None
