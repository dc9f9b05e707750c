"""`infimed preview`: a sample as the model sees it, before a run and after it, with and without colour."""

from __future__ import annotations

import io
import json

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from infimed_core import IGNORED_LABEL, InfimedError, Turn, load_plugins, load_run_file
from infimed_core.records import open_run
from infimed_core.testing import make_image
from infimed_core.testing import run as run_document
from infimed_plugins.sft.preview import make_preview
from infimed_plugins.sft.preview_command import lines_of, preview


def write(folder):
    """Six samples: the second has two turns, the fifth an image that is cut off, the last is too long for any row."""
    rows = []
    for number in range(6):
        picture = folder / f"{number}.png"
        content = make_image(64, 96, seed=number)
        picture.write_bytes(content[: len(content) // 2] if number == 4 else content)
        turns = [
            {"role": "user", "content": [0, f"Number {number}?"]},
            {"role": "assistant", "content": ["CT of the chest" + " and more" * (80 if number == 5 else 0)]},
        ]
        if number == 1:
            turns[1]["supervised"] = False
            turns += [{"role": "user", "content": ["Sure?"]}, {"role": "assistant", "content": ["Yes."]}]
        media = [{"kind": "image", "uri": str(picture)}]
        rows.append(
            {
                "id": f"sample-{number}",
                "turns": turns,
                "media": media,
                "tags": {"kind": "odd" if number % 2 else "even"},
            }
        )
    path = folder / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    stages = [
        {"name": "one", "mix": [{"where": {"kind": ["odd", "even"]}}], "learning_rate": 1e-3, "num_samples": 12},
        {"name": "two", "mix": [{"where": {"kind": "odd"}}], "learning_rate": 1e-3},
    ]
    body = {
        "run": {"name": "shown", "seed": 1, "directory": str(folder / "runs")},
        "data": {"sources": [{"use": "jsonl", "with": {"path": str(path)}}], "filters": []},
        "model": {"use": "tiny-qwen3-vl", "with": {"vocab_size": 400, "layers": 1, "vision_layers": 1}},
        "resolution": {"use": "fixed", "with": {"max_visual_tokens": 4}},
        "packing": {"use": "best-fit", "with": {"row_tokens": 128}},
        "training": {"use": "staged", "with": {"stages": stages}},
    }
    file = folder / "shown.yaml"
    file.write_text(yaml.safe_dump(body), encoding="utf-8")
    return file, body


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown")
    file, body = write(folder)
    events = []
    run_document(body, folder, events)
    said = [event.payload["text"] for event in events if event.kind == "message"]
    assert any("stage 'one': left out as" in text and text.endswith("'sample-5'") for text in said), said
    return file


def shown(found, colour=False):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=colour, highlight=False, soft_wrap=True, width=200)
    for text in lines_of(found, colour):
        console.print(text)
    return stream.getvalue()


def of(file, sample_id=None, stage=None):
    registry = load_plugins()
    return make_preview(load_run_file(file, registry), registry, sample_id, stage)


def test_before_a_run_a_sample_is_shown_with_its_stages_and_what_is_not_known_yet(tmp_path):
    file, _ = write(tmp_path)
    told = shown(of(file, "sample-1"))
    assert "stage one: at most 4 visual tokens an image" in told and "stage two" in told
    assert "this file has not been run" in told
    assert "image 1: 96 x 64 pixels seen as" in told
    body = told.split("\n\n", 1)[1]
    assert "{+Yes.<|im_end|>+}" in body and "{+CT" not in body and "CT of the chest<|im_end|>" in body
    assert "[image 1: 2 tokens]" in body or "[image 1: 4 tokens]" in body
    assert not (tmp_path / "runs").exists()


def test_after_a_run_the_row_and_step_are_those_that_were_trained(finished):
    from infimed_core.plan.rows import PlannedBatches

    run = open_run(finished.parent / "runs" / "shown")
    registry = load_plugins()
    plan = load_run_file(finished, registry)
    for sample_id in ("sample-0", "sample-1", "sample-3"):
        found = of(finished, sample_id)
        for place in found.places:
            rows = PlannedBatches(run.dataset, run.stage_plan(place.stage), found.encoder, registry.media_loader())
            row = rows.row(place.step, place.row)
            number = row.sample_ids.index(sample_id)
            own = slice(int(row.cu_seqlens[number]), int(row.cu_seqlens[number + 1]))
            assert row.input_ids[own].tolist() == found.encoded.input_ids.tolist()
            learned = (row.labels[own][:-1] != IGNORED_LABEL).tolist()
            assert found.loss.tolist() == [False, *learned]
            assert place.beside == len(row.sample_ids) + len(row.dropped) - 1
            assert not any(sample_id in rows.row(step, 0).sample_ids for step in range(place.step))
    assert plan.file.run.name == "shown"


def test_what_carries_loss_is_in_green_on_a_terminal_and_between_marks_elsewhere(finished):
    found = of(finished, "sample-0")
    assert "{+CT of the chest<|im_end|>+}" in shown(found)
    coloured = shown(found, colour=True)
    assert "\x1b[1;32mCT of the chest<|im_end|>" in coloured and "{+" not in coloured
    piped = CliRunner().invoke(app_with_preview(), ["preview", str(finished), "sample-0"])
    assert piped.exit_code == 0 and "{+CT of the chest<|im_end|>+}" in piped.output and "\x1b" not in piped.output


def app_with_preview():
    import typer

    own = typer.Typer()
    own.command("preview")(preview)
    own.command("other")(lambda: None)
    return own


def test_a_sample_that_is_not_trained_on_says_why(finished):
    assert "cannot be trained on: truncated" in shown(of(finished, "sample-4"))
    told = shown(of(finished, "sample-5"))
    assert "stage 'one' leaves it out: " in told and "no stage trains on it" in told


def test_a_changed_file_is_shown_as_it_is_now_and_says_so(finished, tmp_path):
    body = yaml.safe_load(finished.read_text())
    body["resolution"]["with"]["max_visual_tokens"] = 1
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(body))
    told = shown(of(other, "sample-0"))
    assert "resolution changed since the run was made" in told and "[image 1: 1 tokens]" in told


def test_text_of_the_data_does_not_steer_the_terminal(tmp_path):
    file, _ = write(tmp_path)
    path = tmp_path / "samples.jsonl"
    path.write_text(path.read_text().replace("Number 0?", "Number \\u001b[31m0?"))
    assert "\x1b" not in shown(of(file, "sample-0"))


def test_a_row_that_is_no_sample_says_why_before_a_run(tmp_path):
    file, _ = write(tmp_path)
    path = tmp_path / "samples.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows[2]["turns"][0]["content"] = [3, "There is no such image."]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(InfimedError, match=r"'sample-2' is no sample that can be trained on; .*samples\.jsonl:3: "):
        of(file, "sample-2")


def test_an_unknown_sample_or_stage_is_one_line(finished, tmp_path):
    from infimed_core import InfimedError

    with pytest.raises(InfimedError, match="no sample 'nope'"):
        of(finished, "nope")
    with pytest.raises(InfimedError, match="no stage 'three'; it has one, two"):
        of(finished, stage="three")
    assert of(finished, stage="two").places[0].stage == "two"
    assert Turn(role="user", content=("a",)).supervised
