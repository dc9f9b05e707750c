"""What a row says is what is read: options, missing and coded values, images in their places, training fields."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infimed_core import DataError, Fault, Sample, load_plugins
from infimed_plugins.readers.fields import MARKS, REFUSED
from infimed_plugins.readers.llava import Llava
from infimed_plugins.readers.medevalkit import MedEvalKit
from infimed_plugins.readers.options import LETTERS, listed_options, place_of, read_options, without_letters
from infimed_plugins.readers.parquet import Parquet
from infimed_plugins.readers.tables import Csv

GERMS = ("K. pneumoniae", "B. fragilis", "C. tetani", "A. baumannii", "E. faecium")


def read(reader: Any) -> list[Sample | Fault]:
    return [row for shard in reader.shards() for row in reader.read(shard)]


def from_json(folder: Path, *rows: Any, **settings: Any) -> list[Sample | Fault]:
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    return read(Llava(path=str(folder / "rows.json"), **settings))


def one(folder: Path, row: Any, **settings: Any) -> Sample | Fault:
    (found,) = from_json(folder, row, **settings)
    return found


def talk(*said: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in said], **more}


# options


@pytest.mark.parametrize("answer", range(len(GERMS)))
def test_the_initial_of_a_genus_is_no_letter_wherever_options_are_read(tmp_path: Path, answer: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    letter, right = LETTERS[answer], GERMS[answer]
    for options in (list(GERMS), dict(zip("ABCDE", GERMS, strict=True)), str(list(GERMS)), json.dumps(GERMS)):
        for said in (right, letter, f"({letter})", f"{letter}. {right}"):
            (tmp_path / "train.json").write_text(json.dumps([{"question": "Q", "options": options, "answer": said}]))
            (row,) = read(MedEvalKit(path=str(tmp_path)))
            assert isinstance(row, Sample) and (row.options, row.references) == (GERMS, (letter, right))
            assert row.turns[-1].text == f"{letter}. {right}"
    columns: dict[str, Any] = {f"choice_{n}": [germ] for n, germ in enumerate(GERMS)}
    pq.write_table(
        pa.table({"question": ["Q"], "answer": [right], "all": [list(GERMS)], **columns}), tmp_path / "t.parquet"
    )
    for named in ("all", tuple(columns)):
        (found,) = read(Parquet(path=str(tmp_path / "t.parquet"), columns={"options": named}))
        assert isinstance(found, Sample) and found.options == GERMS
    found = one(tmp_path, {"question": "Q", "answer": right, "options": GERMS})
    assert isinstance(found, Sample) and found.options == GERMS


texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=9).map(str.strip)


unlettered = texts.filter(lambda text: text and without_letters((text, text)) == (text, text))


@given(
    st.lists(unlettered, min_size=2, max_size=9), st.sampled_from(["{}. {}", "({}) {}", "{}) {}", "{}: {}", "{}、{}"])
)
@settings(max_examples=60, deadline=None)
def test_letters_of_the_whole_sequence_are_taken_off_and_only_those(options: list[str], form: str) -> None:
    lettered = [form.format(LETTERS[place], text) for place, text in enumerate(options)]
    assert without_letters(lettered) == tuple(options)
    moved = [form.format(LETTERS[place + 1], text) for place, text in enumerate(options)]
    assert without_letters(moved) == tuple(moved)


@pytest.mark.parametrize(
    "row",
    [
        {"option_A": "x", "option_B": None, "option_C": "z"},
        {"Choice A": "", "Choice B": "y", "Choice C": "z"},
        {"options": ["x", float("nan"), "z"]},
        {"options": {"A": "x", "C": "z"}},
        {"options": [{"key": "A", "value": "x"}, {"key": "B", "value": ""}, {"key": "C", "value": "z"}]},
        {"options": "['x', '', 'z']"},
    ],
)
def test_an_option_that_is_empty_in_the_middle_moves_no_letter(tmp_path: Path, row: dict[str, Any]) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps({"question": "Q", "answer": "C", **row}))
    (fault,) = read(MedEvalKit(path=str(tmp_path)))
    assert isinstance(fault, Fault) and "is empty" in fault.detail, fault


@pytest.mark.parametrize(
    ("answer", "options", "place"),
    [
        ("2", {"1": "left", "2": "right"}, 1), ("10", {str(n): f"x{n}" for n in range(1, 11)}, 9),
        ("b", ["one", "two"], 1), ("Two.", ["one", "two"], 1), ("D", ["one", "two"], None),
        ("B. one", ["one", "two"], None),
        ("B", ["B", "A"], "may be"), ("same", ["same", "Same"], "may be"),
        ("A. B. cereus", ["B. cereus", "A. niger"], 0),
    ],
)  # fmt: skip
def test_an_answer_names_one_option_or_none(answer: str, options: Any, place: Any) -> None:
    keys = tuple(sorted(options, key=int)) if isinstance(options, dict) else ()
    if isinstance(place, str):
        with pytest.raises(DataError, match=place):
            place_of(answer, read_options(options), keys)
    else:
        assert place_of(answer, read_options(options), keys) == place
    assert listed_options(["x", "y", None, float("nan"), " "]) == ("x", "y")


# missing and coded values


def test_what_is_missing_is_never_a_text(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    nan = float("nan")
    table = {
        "q": ["Q"] * 4,
        "a": pa.array([7.0, nan, 2.5, 1.0]),
        "g": pa.array([nan, 1.0, 2.0, nan]),
        "i": ["nan", None, "", "x"],
    }
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    columns = {"question": "q", "answer": "a", "image": "i", "tags": {"grade": "g"}, "meta": ["g"]}
    first, missing, third, last = read(Parquet(path=str(tmp_path / "t.parquet"), columns=columns))
    assert isinstance(missing, Fault) and missing.code == "empty_text"
    assert isinstance(first, Sample) and isinstance(third, Sample) and isinstance(last, Sample)
    assert [row.turns[-1].text for row in (first, third, last)] == ["7", "2.5", "1"]
    assert [row.tags for row in (first, third, last)] == [{}, {"grade": "2"}, {}] and first.meta == {"g": None}
    assert [len(row.media) for row in (first, third, last)] == [0, 0, 1]
    (tmp_path / "t.csv").write_text("question,answer,image\nnan,A scan.,x.png\nQ,NaN,\n")
    scan, empty = read(Csv(path=str(tmp_path / "t.csv")))
    assert isinstance(scan, Sample) and [turn.content for turn in scan.turns] == [(0,), ("A scan.",)]
    assert isinstance(empty, Fault)


def test_a_class_is_read_by_its_name_and_a_label_that_is_not_given_as_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets

        names = datasets.ClassLabel(names=["benign", "malignant"])
        features = datasets.Features(
            {"question": datasets.Value("string"), "answer": names, "also": datasets.Sequence(names)}
        )
        rows = {"question": ["Q"] * 3, "answer": [1, 0, -1], "also": [[1, 0], [], [0]]}
        saved = datasets.Dataset.from_dict(rows, features=features)
        saved.save_to_disk(str(tmp_path / "saved"))
        saved.to_parquet(str(tmp_path / "saved.parquet"))
        kind = load_plugins().find("reader", "huggingface")
        made = kind.model_validate({"path": str(tmp_path / "saved"), "columns": {"meta": ["also"]}})
        for reader in (made, Parquet(path=str(tmp_path / "saved.parquet"), columns={"meta": ["also"]})):
            first, second, third = read(reader)
            assert isinstance(first, Sample) and isinstance(second, Sample) and isinstance(third, Sample)
            assert (first.turns[-1].text, second.turns[-1].text) == ("malignant", "benign")
            assert third.turns[-1].role == "user" and first.meta == {"also": ["malignant", "benign"]}


@pytest.mark.parametrize(
    ("images", "num_media"),
    [
        ({"image": None}, 0), ({"image": [None]}, 0), ({"image": {"bytes": None, "path": None}}, 0),
        ({"images": ["a.png", None, "c.png"]}, None), ({"images": ["a.png", None]}, None),
        ({"images": [None, "a.png"]}, None),
        ({"image": "a.png", "images": ["a.png", "b.png"]}, 2), ({"image": "a.png", "images": [{"path": "a.png"}]}, 1),
        ({"images": ["a.png", "a.png"]}, 2), ({"image": "./a.png", "images": ["x/../a.png", "b/a.png"]}, 2),
        ({"image": "a.png", "images": ["[1].png"]}, 2), ({"images": "['a.png', 'b.png']"}, 2),
    ],
)  # fmt: skip
def test_an_image_that_is_null_moves_no_other_and_one_that_is_named_twice_is_one(
    tmp_path: Path, images: Any, num_media: Any
) -> None:
    found = one(tmp_path, {"question": "Q", "answer": "A", **images})
    if num_media is None:
        assert isinstance(found, Fault) and found.code == "missing_media"
    else:
        assert isinstance(found, Sample) and len(found.media) == num_media


# training fields


def test_history_comes_before_the_last_turn(tmp_path: Path) -> None:
    row = {
        "instruction": "And now?",
        "input": "Look.",
        "output": "Bigger.",
        "history": [["Size?", "Ten."], ["Then?", "Eight."]],
    }
    found = one(tmp_path, row)
    assert isinstance(found, Sample)
    assert [turn.text for turn in found.turns] == ["Size?", "Ten.", "Then?", "Eight.", "And now?\nLook.", "Bigger."]
    assert isinstance(one(tmp_path, {**row, "history": [["alone"]]}), Fault)
    prose = one(tmp_path, {**row, "history": "A man of 60."})
    assert isinstance(prose, Sample) and len(prose.turns) == 2 and prose.meta == {"history": "A man of 60."}


def test_an_answer_whose_loss_is_false_is_kept_and_marked(tmp_path: Path) -> None:
    row = talk(("user", "1?"), ("assistant", "1"), ("user", "2?"), ("assistant", "2"))
    for name, no in (("loss", False), ("loss", 0), ("weight", 0)):
        row["messages"][1] = {"role": "assistant", "content": "1", name: no}
        found = one(tmp_path, row)
        assert isinstance(found, Sample) and [turn.supervised for turn in found.turns] == [True, False, True, True]
    row["messages"][1] = {"role": "assistant", "content": "1", "loss": 0.5}
    assert getattr(one(tmp_path, row), "code", "") == "unsupported_field"
    fault = one(tmp_path, {"messages": [{"role": "assistant", "content": "1", "loss": False}]})
    assert isinstance(fault, Fault) and fault.code == "nothing_to_learn"


FIELDS: dict[str, Any] = {
    "video": "v.mp4", "videos": ["v.mp4"], "audio": "a.wav", "audios": ["a.wav"],
    "chosen": "x", "rejected": "x", "rejected_response": "x",
    "rejected_messages": [{"role": "assistant", "content": "x"}], "rejected_images": ["x.png"],
    "positive_messages": [[{"role": "user", "content": "x"}]],
    "negative_messages": [[{"role": "user", "content": "x"}]],
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_field_that_is_known_and_not_honoured_is_that_rows_fault_by_name(tmp_path: Path, name: str) -> None:
    for row in (talk(("user", "Q"), ("assistant", "A")), {"question": "Q", "answer": "A"}):
        said = {**row, name: FIELDS[name]}
        fault, other = from_json(tmp_path, said, {**row, name: None})
        assert isinstance(fault, Fault) and fault.code == "unsupported_field" and f"'{name}'" in fault.detail
        assert isinstance(other, Sample), "an empty field says nothing"
        assert isinstance(one(tmp_path, said, ignore=[name]), Sample)


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_of_something_else_is_no_text_to_learn(tmp_path: Path, mark: str) -> None:
    for said in (talk(("user", f"{mark}Q"), ("assistant", "A")), talk(("user", "Q"), ("assistant", f"At {mark}."))):
        fault = one(tmp_path, said)
        assert isinstance(fault, Fault) and fault.code == "unsupported_field" and mark in fault.detail


@pytest.mark.parametrize(
    ("name", "said"), [("label", False), ("kto_tag", False), ("label", True), ("label", "no finding")]
)
def test_an_answer_that_the_row_calls_bad_is_not_trained(tmp_path: Path, name: str, said: Any) -> None:
    found = one(tmp_path, talk(("user", "Safe?"), ("assistant", "Bleach."), **{name: said}))
    assert (found.code == "bad_answer") if isinstance(found, Fault) else said is not False


@pytest.mark.parametrize(("said", "is_bad"), [(0, True), ("0", True), (0.0, True), (1, False), ("benign", False)])
def test_a_label_of_nought_beside_prompt_and_completion_is_a_bad_answer(
    tmp_path: Path, said: Any, is_bad: bool
) -> None:
    found = one(tmp_path, {"prompt": "Dose?", "completion": "As much as you like.", "label": said})
    assert isinstance(found, Fault) is is_bad and getattr(found, "code", "bad_answer") == "bad_answer"
    assert isinstance(one(tmp_path, {"question": "Class?", "answer": "benign", "label": said}), Sample)


@pytest.mark.parametrize("name", ["loss", "weight", "train", "trainable", "supervised", "sample_weight"])
@pytest.mark.parametrize("said", [False, 0, 0.0, "0", "false"])
def test_a_row_that_is_not_to_be_trained_on_is_a_fault_by_name(tmp_path: Path, name: str, said: Any) -> None:
    for row in (talk(("user", "Q"), ("assistant", "A")), {"question": "Q", "answer": "A"}):
        fault = one(tmp_path, {**row, name: said})
        assert isinstance(fault, Fault) and fault.code == "unsupported_field" and f"'{name}'" in fault.detail
        assert isinstance(one(tmp_path, {**row, name: said}, ignore=[name]), Sample)
    (tmp_path / "t.csv").write_text(f"question,answer,{name}\nQ,A,{said}\nQ,B,1\nQ,C,\n")
    fault, *rows = Csv(path=str(tmp_path / "t.csv")).read(str(tmp_path / "t.csv"))
    assert isinstance(fault, Fault) and fault.code == "unsupported_field"
    assert [row.turns[-1].text for row in rows if isinstance(row, Sample)] == ["B", "C"]


def test_a_persons_weight_and_a_loss_in_words_are_columns_like_others(tmp_path: Path) -> None:
    for name, said in (("weight", 72.5), ("weight", "64"), ("loss", "severe"), ("train", "yes")):
        assert isinstance(one(tmp_path, {"question": "Q", "answer": "A", name: said}), Sample)


@pytest.mark.parametrize("name", ["train", "trainable", "supervised", "loss", "mask"])
def test_a_message_that_is_not_to_be_trained_on_is_shown_alone(tmp_path: Path, name: str) -> None:
    said = talk(("user", "Q"), ("assistant", "A"), ("user", "R"), ("assistant", "B"))
    messages = said[next(iter(said.keys() & {"messages", "conversations"}))]
    messages[1][name] = name == "mask"
    found = one(tmp_path, said)
    assert isinstance(found, Sample)
    assert [turn.supervised for turn in found.turns if turn.role == "assistant"] == [False, True]


@pytest.mark.parametrize(
    ("answer", "learned"),
    [("B", "B. Spleen"), ("(b)", "B. Spleen"), ("A, C", "A. Liver; C. C. difficile"), ("Spleen", "Spleen")],
)
def test_a_letter_is_learned_with_what_it_stands_for(tmp_path: Path, answer: str, learned: str) -> None:
    options = ["Liver", "Spleen", "C. difficile"]
    row = {"question": "Which?", "options": options, "answer": answer}
    (tmp_path / "t.csv").write_text(f'q,a,x,y,z\nWhich?,"{answer}",{",".join(options)}\n')
    columns = {"question": "q", "answer": "a", "options": ["x", "y", "z"]}
    for found in (
        one(tmp_path, row),
        *Csv(path=str(tmp_path / "t.csv"), columns=columns).read(str(tmp_path / "t.csv")),
    ):
        assert isinstance(found, Sample) and found.turns[-1].text == learned
        shown = found.turns[0].text.endswith("Which?\nA. Liver\nB. Spleen\nC. C. difficile")
        assert shown is (answer != "Spleen"), "the text of an option needs no list"
    told = one(tmp_path, {**row, "question": "Which: liver, spleen or C. difficile?"})
    assert isinstance(told, Sample) and "\n" not in told.turns[0].text
    fault = one(tmp_path, {**row, "answer": "E"})
    assert isinstance(fault, Fault) and fault.code == "bad_row"


def test_an_image_in_an_answer_costs_its_sample(tmp_path: Path) -> None:
    fault = one(tmp_path, talk(("user", "Q"), ("assistant", "See <image>."), images=["a.png"]))
    assert isinstance(fault, Fault) and fault.code == "image_in_answer"


def test_dataset_info_says_which_columns_and_tags_a_file_has(tmp_path: Path) -> None:
    chats = [{"chat": [{"who": "P", "said": "Q<image>"}, {"who": "D", "said": "A", "loss": True}], "pics": ["a.png"]},
             {"chat": [{"who": "X", "said": "Q"}]}, {"talk": []}]  # fmt: skip
    (tmp_path / "chats.json").write_text(json.dumps(chats))
    (tmp_path / "asked.jsonl").write_text(json.dumps({"frage": "Q", "mehr": "more", "antwort": "A", "answer": "wrong"}))
    info: dict[str, Any] = {
        "chats": {"file_name": "chats.json", "formatting": "sharegpt",
                  "columns": {"messages": "chat", "images": "pics"},
                  "tags": {"role_tag": "who", "content_tag": "said", "user_tag": "P", "assistant_tag": "D"}},
        "asked": {"file_name": "asked.jsonl", "columns": {"prompt": "frage", "query": "mehr", "response": "antwort"}},
        "far": {"hf_hub_url": "owner/name"},
    }  # fmt: skip
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    good, stranger, lacking = read(Llava(path=str(tmp_path / "chats.json")))
    assert isinstance(good, Sample) and [turn.content for turn in good.turns] == [("Q", 0), ("A",)]
    assert isinstance(stranger, Fault) and "'X'" in stranger.detail
    assert isinstance(lacking, Fault) and "no 'chat', which dataset_info.json names" in lacking.detail
    (row,) = read(Llava(path=str(tmp_path), dataset="asked"))
    assert isinstance(row, Sample) and [turn.text for turn in row.turns] == ["Q\nmore", "A"]
    whole = Llava(path=str(tmp_path / "dataset_info.json"))
    assert len(read(whole)) == 4
    before = whole.fingerprint()
    info["asked"]["ranking"] = True
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    (ranked,) = read(Llava(path=str(tmp_path / "asked.jsonl")))
    assert isinstance(ranked, Fault) and "'ranking'" in ranked.detail and whole.fingerprint() != before
    for dataset, told in (("far", "no local file"), ("none", "no data set 'none'")):
        with pytest.raises(DataError, match=told):
            Llava(path=str(tmp_path), dataset=dataset).files()


def test_an_image_that_one_column_holds_and_another_names_is_one(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    held = {"bytes": b"\x89PNG held", "path": "scan.png"}
    rows = {
        "question": ["Q"],
        "answer": ["A"],
        "image": [held],
        "image_path": ["images/scan.png"],
        "images": [[held, {"bytes": b"x", "path": None}]],
    }
    pq.write_table(pa.table(rows), tmp_path / "train.parquet")
    (row,) = read(MedEvalKit(path=str(tmp_path)))
    assert isinstance(row, Sample) and [medium.data for medium in row.media] == [b"\x89PNG held", b"x"]
    pq.write_table(
        pa.table({"question": ["Q"] * 2, "answer": ["A"] * 2, "image": pa.array([17.0, None])}), tmp_path / "n.parquet"
    )
    first, second = read(Parquet(path=str(tmp_path / "n.parquet")))
    assert isinstance(first, Sample) and Path(first.media[0].uri or "").name == "17"
    assert isinstance(second, Sample) and not second.media


# files as people have them


def test_a_key_that_stands_twice_in_an_object_costs_its_row(tmp_path: Path) -> None:
    twice, whole = '{"question": "q", "answer": "benign", "answer": "malignant"}', '{"question": "q", "answer": "b"}'
    (tmp_path / "a.jsonl").write_text(f"{twice}\n{whole}\n")
    (tmp_path / "b.json").write_text(f"[{twice},{whole}]")
    for name in ("a.jsonl", "b.json"):
        first, second = read(Llava(path=str(tmp_path / name)))
        assert isinstance(first, Fault) and "'answer' stands twice" in first.detail
        assert isinstance(second, Sample) and second.turns[-1].text == "b"


def test_prompt_and_completion_are_a_question_and_its_answer(tmp_path: Path) -> None:
    text = {"prompt": "q", "completion": "a"}
    messages = {
        "prompt": [{"role": "user", "content": "q"}],
        "completion": [{"role": "assistant", "content": "a"}],
    }
    for row in from_json(tmp_path, text, messages):
        assert isinstance(row, Sample) and [turn.text for turn in row.turns] == ["q", "a"]


def test_an_image_in_base64_in_a_cell_is_the_image(tmp_path: Path) -> None:
    import base64
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("L", (64, 64), 9).save(file, "PNG")
    cell = base64.b64encode(file.getvalue()).decode()
    (tmp_path / "a.tsv").write_text(f"image\tquestion\tanswer\n{cell}\tq\ta\n")
    (row,) = read(Csv(path=str(tmp_path / "a.tsv")))
    assert isinstance(row, Sample) and row.media[0].data == file.getvalue()


def test_a_table_padded_with_spaces_is_read_without_them_and_others_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('question , answer\nWhat?, "a, b"\n')
    (tmp_path / "b.csv").write_text("question,answer\nWhat?, a\n")
    told = [row.turns[-1].text for row in read(Csv(path=str(tmp_path / "*.csv"))) if isinstance(row, Sample)]
    assert told == ["a, b", " a"]


@pytest.mark.parametrize("head", [b"PK\x03\x04", b"PAR1", b"\xd0\xcf\x11\xe0"])
def test_a_file_that_is_no_text_is_a_fault_that_says_what_it_is(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(head + bytes(100))
    (row,) = read(Csv(path=str(tmp_path / "a.csv")))
    assert isinstance(row, Fault) and row.code == "bad_file" and "whatever its name says" in row.detail


def test_a_packed_file_is_read_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    import gzip

    rows = json.dumps([{"question": "q", "answer": "a"}]).encode()
    (tmp_path / "packed.json").write_bytes(gzip.compress(rows))
    (tmp_path / "plain.json.gz").write_bytes(rows)
    for name in ("packed.json", "plain.json.gz"):
        (row,) = read(Llava(path=str(tmp_path / name)))
        assert isinstance(row, Sample), name


def test_paths_as_windows_writes_them_are_found(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x.png").write_bytes(b"x")
    (tmp_path / "a.csv").write_text("image,question,answer\nimages\\x.png,q,a\n")
    (row,) = read(Csv(path=str(tmp_path / "a.csv")))
    assert isinstance(row, Sample) and row.media[0].uri == str(tmp_path / "images" / "x.png")
