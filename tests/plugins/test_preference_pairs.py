"""Judged answers: every form that is common is read whole, and what is no pair is a fault with its place."""

from __future__ import annotations

import json

import pytest

from infimed_core import Fault
from infimed_plugins.reinforcement.reader import LabelledAnswers, PreferencePairs

TRL = {"prompt": "Which plane?", "chosen": "axial", "rejected": "coronal", "images": ["a.png"]}
MESSAGES = {
    "chosen": [{"role": "user", "content": "Which <image> plane?"}, {"role": "assistant", "content": "axial"}],
    "rejected": [{"role": "user", "content": "Which <image> plane?"}, {"role": "assistant", "content": "coronal"}],
    "images": ["a.png"],
}
SHAREGPT = {
    "conversations": [
        {"from": "human", "value": "<image>Which plane?"},
        {"from": "gpt", "value": "One moment."},
        {"from": "human", "value": "Now?"},
    ],
    "chosen": {"from": "gpt", "value": "axial"},
    "rejected": {"from": "gpt", "value": "coronal"},
    "images": ["a.png"],
}
ALPACA = {
    "instruction": "Name the plane.",
    "input": "It cuts from left to right.",
    "chosen": "axial",
    "rejected": "none",
}


def read(tmp_path, *rows, array=False):
    file = tmp_path / "pairs.json"
    file.write_text(json.dumps(rows) if array else "".join(json.dumps(row) + "\n" for row in rows))
    return list(PreferencePairs(path=str(file), tags={"stage": "dpo"}).read(""))


@pytest.mark.parametrize("array", [False, True])
def test_common_forms_are_read_whole(tmp_path, array):
    trl, messages, sharegpt, alpaca = read(tmp_path, TRL, MESSAGES, SHAREGPT, ALPACA, array=array)
    assert trl.turns[0].content == (0, "Which plane?") and trl.turns[-1].text == "axial"
    assert trl.meta["rejected"] == "coronal" and trl.media[0].uri == str((tmp_path / "a.png").resolve())
    assert messages.turns[0].content == ("Which ", 0, " plane?") and len(messages.turns) == 2
    assert [turn.role for turn in sharegpt.turns] == ["user", "assistant", "user", "assistant"]
    assert alpaca.turns[0].text == "Name the plane.\nIt cuts from left to right." and not alpaca.media
    assert len({sample.id for sample in (trl, messages, sharegpt, alpaca)}) == 4 and trl.tags["stage"] == "dpo"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"rejected": None}, "no_answer"),
        ({"chosen": " "}, "no_answer"),
        ({"rejected": "axial "}, "no_preference"),
        ({"prompt": None}, "no_question"),
        ({"images": ["a.png", "b.png"], "prompt": "<image> Which?"}, "image_count"),
        ({"images": [1]}, "bad_row"),
        ({"chosen": [{"role": "user", "content": "axial"}]}, "bad_row"),
        ({"chosen": [{"role": "judge", "content": "axial"}]}, "bad_row"),
        ({"rejected": "see <image>"}, "bad_row"),
        ({"margin": 0.4}, "unsupported_field"),
    ],
)
def test_what_is_no_pair_is_a_fault_with_its_place(tmp_path, change, code):
    good, fault = read(tmp_path, TRL, TRL | change)
    assert not isinstance(good, Fault)
    assert isinstance(fault, Fault) and fault.code == code and fault.where.endswith("pairs.json:2")


def test_a_line_that_is_no_json_is_a_fault(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps(TRL) + "\n{broken\n")
    found = list(PreferencePairs(path=str(file)).read(""))
    assert [type(row).__name__ for row in found] == ["Sample", "Fault"]


@pytest.mark.parametrize("image", ["/etc/passwd", "../../etc/passwd", "file:///etc/passwd", "http://h/a.png", "link/a"])
def test_images_lie_in_the_folder_of_the_file_unless_the_run_file_says_otherwise(tmp_path, image):
    (tmp_path / "link").symlink_to("/etc")
    good, fault = read(tmp_path, TRL, TRL | {"images": [image]})
    assert not isinstance(good, Fault)
    assert isinstance(fault, Fault) and fault.code in ("outside_root", "remote_media")
    allowed = PreferencePairs(path=str(tmp_path / "pairs.json"), allow_outside=True)
    assert "://" in image or not [row for row in allowed.read("") if isinstance(row, Fault)]


@pytest.mark.parametrize(
    "line",
    [b"[" * 100_000, b"\xff", b'{"id": ' + b"9" * 5000 + b"}", b"null", b'{"chosen": "a\\ud800", "rejected": "b",'
     b' "prompt": "q"}', json.dumps(TRL | {"images": ["a\0.png"]}).encode(), json.dumps(TRL | {"images": 5}).encode()],
)  # fmt: skip
def test_whatever_breaks_a_row_costs_that_row(tmp_path, line):
    file = tmp_path / "pairs.jsonl"
    good = json.dumps(TRL | {"prompt": "Which\u2028plane?\u0085"}, ensure_ascii=False).encode()
    file.write_bytes(b"\n".join([good, line, good]) + b"\n")
    found = list(PreferencePairs(path=str(file)).read(""))
    assert [type(row).__name__ for row in found] == ["Sample", "Fault", "Sample"]
    assert found[1].where.endswith("pairs.jsonl:2") and found[1].detail and "\u2028" in found[0].turns[0].text


TRL_LABELLED = {"prompt": "Which plane?", "completion": "axial", "label": True, "images": ["a.png"]}
TURNS = [{"role": "user", "content": "<image>Which plane?"}, {"role": "assistant", "content": "coronal"}]
LABELLED = [
    TRL_LABELLED,
    {"prompt": TURNS[:1], "completion": TURNS[1:], "label": False, "images": ["a.png"]},
    {"completion": TURNS, "label": False, "images": ["a.png"]},
    {"messages": TURNS, "kto_tag": False, "images": ["a.png"]},
    {"conversations": [{"from": "human", "value": "<image>Which plane?"}, {"from": "gpt", "value": "coronal"}],
     "kto_tag": False, "images": ["a.png"]},
    {"instruction": "Which plane?", "input": "", "output": "axial", "kto_tag": 1, "images": ["a.png"]},
]  # fmt: skip


def read_labelled(tmp_path, *rows):
    file = tmp_path / "labelled.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(LabelledAnswers(path=str(file)).read(""))


def test_labelled_answers_of_trl_and_llama_factory_are_read_whole(tmp_path):
    found = read_labelled(tmp_path, *LABELLED)
    assert [sample.meta["label"] for sample in found] == [True, False, False, False, False, True]
    assert [sample.tags["label"] for sample in found] == ["true", "false", "false", "false", "false", "true"]
    assert {sample.turns[0].content for sample in found} == {(0, "Which plane?")}
    assert [sample.turns[-1].text for sample in found] == ["axial", *["coronal"] * 4, "axial"]
    assert all(len(sample.turns) == 2 and len(sample.media) == 1 for sample in found)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"label": None}, "no_label"),
        ({"label": "true"}, "no_label"),
        ({"label": 2}, "no_label"),
        ({"label": 1.0}, "no_label"),
        ({"kto_tag": False}, "no_label"),
        ({"completion": None}, "no_answer"),
        ({"completion": " "}, "no_answer"),
        ({"output": "coronal"}, "bad_row"),
        ({"completion": TURNS[:1]}, "bad_row"),
        ({"prompt": None}, "no_question"),
        ({"rejected": "coronal"}, "unsupported_field"),
    ],
)
def test_what_is_no_labelled_answer_is_a_fault_with_its_place(tmp_path, change, code):
    good, fault = read_labelled(tmp_path, TRL_LABELLED, TRL_LABELLED | change)
    assert not isinstance(good, Fault)
    assert isinstance(fault, Fault) and fault.code == code and fault.where.endswith("labelled.jsonl:2")
