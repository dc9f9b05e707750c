"""Benchmarks asked in other ways: what is altered, what stays, and what the page says of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infimed_core import Answer, Fault, LoadedModel, MediaLoader, Request, Sample, load_plugins
from infimed_core.records import open_run
from infimed_core.testing import check_benchmark, make_image, run
from infimed_plugins.medevalkit.wrappers.paraphrased import Paraphrased
from infimed_plugins.medevalkit.wrappers.pictures import DAMAGES, DegradedImage, ImageBlind, WrongImage
from infimed_plugins.reporting.page.answers import read_tables
from infimed_plugins.reporting.page.robustness import robustness
from infimed_plugins.reporting.page.thumbnails import Thumbnails
from infimed_plugins.vlm.baselines import Constant

WORDS = ("liver", "heart")


def own(tmp_path: Path, num: int = 8) -> dict[str, Any]:
    """Questions about pictures of two kinds: bright ones are hearts, dark ones livers; one has no picture."""
    rows = []
    for number in range(num):
        path = tmp_path / f"{number}.png"
        path.write_bytes(make_image(seed=number))
        rows.append(
            {
                "id": f"q{number}",
                "turns": [
                    {"role": "user", "content": [0, f"Which organ is picture {number}?"]},
                    {"role": "assistant", "content": [WORDS[number % 2]]},
                ],
                "media": [{"kind": "image", "uri": str(path)}],
                "options": list(WORDS),
                "tags": {"modality": "CT" if number < 4 else "MR"},
            }
        )
    rows.append(
        {"id": "text", "turns": [{"role": "user", "content": ["Is it so?"]}, {"role": "assistant", "content": ["yes"]}]}
    )
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"use": "questions", "with": {"reader": {"use": "jsonl", "with": {"path": str(tmp_path / "q.jsonl")}}}}


def plain(use: dict[str, Any]) -> dict[str, Sample]:
    made: Any = load_plugins().make("benchmark", use["use"], use["with"])
    return {row.id: row for row in made.samples() if isinstance(row, Sample)}


def test_a_wrong_image_is_never_the_questions_own_and_of_its_modality(tmp_path: Path) -> None:
    inner = own(tmp_path)
    before = plain(inner)
    component = WrongImage.model_validate({"benchmark": inner})
    rows = list(component.samples())
    assert [row.code for row in rows if isinstance(row, Fault)] == ["no_other_image"]
    samples = [row for row in rows if isinstance(row, Sample)]
    owner = {row.media[0].uri: row for row in before.values() if row.media}
    for sample in samples:
        assert sample.media[0].uri != before[sample.id].media[0].uri
        assert owner[sample.media[0].uri].tags["modality"] == sample.tags["modality"]
        assert (sample.turns, sample.references, sample.tags) == (
            before[sample.id].turns, before[sample.id].references, before[sample.id].tags,
        )  # fmt: skip
    assert list(component.samples()) == rows, "the same draw every time"


def test_without_images_every_word_stays(tmp_path: Path) -> None:
    inner = own(tmp_path)
    before = plain(inner)
    samples = check_benchmark(ImageBlind.model_validate({"benchmark": inner}))
    assert len(samples) == 8
    for sample in samples:
        assert not sample.media and not sample.turns[-1].media_indices
        assert sample.turns[-1].text == before[sample.id].turns[-1].text


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_damage_grows_with_its_degree_and_nothing_else_changes(tmp_path: Path, damage: str) -> None:
    inner = own(tmp_path, 2)
    before, loader = plain(inner), load_plugins().media_loader()
    lost = []
    for severity in (1, 5):
        component = DegradedImage.model_validate({"benchmark": inner, "damage": damage, "severity": severity})
        (sample, *_) = [row for row in component.samples() if isinstance(row, Sample)]
        pixels, own_pixels = (loader.load(one.media[0]).astype(float) for one in (sample, before[sample.id]))
        assert pixels.shape == own_pixels.shape
        lost.append(float(np.abs(pixels - own_pixels).mean()))
        again = next(row for row in component.samples() if isinstance(row, Sample))
        assert again.media[0].sha256 == sample.media[0].sha256
    assert 0 < lost[0] < lost[1]


def test_other_words_leave_options_and_instructions_alone(tmp_path: Path) -> None:
    inner = own(tmp_path)
    before = plain(inner)
    for sample in check_benchmark(Paraphrased.model_validate({"benchmark": inner})):
        asked = f"Which organ is picture {sample.id[1:]}?" if sample.media else "Is it so?"
        now, then = sample.turns[-1].text, before[sample.id].turns[-1].text
        assert now != then and now.split(asked)[-1] == then.split(asked)[-1]
    words = tmp_path / "words.jsonl"
    words.write_text(json.dumps({"id": "q1", "text": "Name the organ of picture 1."}) + "\n")
    rows = list(Paraphrased.model_validate({"benchmark": inner, "wordings": str(words)}).samples())
    (changed,) = [row for row in rows if isinstance(row, Sample)]
    assert changed.turns[-1].text.startswith("Name the organ of picture 1.\n") and changed.media
    assert {row.code for row in rows if isinstance(row, Fault)} == {"no_wording"}


class Looking(LoadedModel):
    """Says what the picture's file is about, or always the same."""

    def __init__(self, looks: bool) -> None:
        self.looks = looks

    @property
    def identity(self) -> str:
        return f"looking {self.looks}"

    def answer(self, requests: Sequence[Request], media: MediaLoader) -> Iterator[Answer]:
        for request in requests:
            uri = request.media[0].uri if request.media else None
            seen = int(Path(uri).stem) % 2 if uri and Path(uri).stem.isdigit() else 0
            yield Answer(sample_id=request.sample_id, text=WORDS[seen] if self.looks else WORDS[0])


def test_the_page_says_how_much_of_the_score_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Constant, "load", lambda self, at: Looking(self.text == "looks"))
    inner = own(tmp_path)
    altered = [{"use": way, "with": {"benchmark": inner}} for way in ("wrong-image", "option-shuffled", "paraphrased")]
    document = {
        "run": {"name": "robust"},
        "models": {name: {"use": "constant", "with": {"text": name}} for name in ("looks", "blind")},
        "evaluation": {"models": ["looks", "blind"], "benchmarks": [inner, *altered]},
        "report": [{"use": "html"}],
    }
    run(document, tmp_path)
    opened = open_run(tmp_path / "runs/robust")
    found = robustness(opened, read_tables(opened, Thumbnails(opened.directory, MediaLoader({}), 0)))
    assert found is not None and found.models == ("looks", "blind")
    rows = {row.alteration.split(" ")[0]: row.models for row in found.rows}
    assert set(rows) == {"wrong-image", "option-shuffled", "paraphrased"}
    looks, blind = rows["wrong-image"]
    assert looks is not None and blind is not None
    assert (looks.plain, looks.change.num) == (1.0, 8) and looks.altered < 0.9
    assert (blind.plain, blind.share) == (0.5, 1.0), "who does not look keeps its score"
    kept, _ = rows["option-shuffled"]
    assert kept is not None and kept.share == 1.0
    page = (tmp_path / "runs/robust/report.html").read_text()
    assert "How much of the score survives" in page and "wrong-image" in page
