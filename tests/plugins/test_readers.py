"""Readers: every row is a sample or a fault that says where and why, in order, with ids that stand."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import pkgutil
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from infimed_core import DataError, Fault, Media, Sample, Turn
from infimed_core.testing import run
from infimed_plugins.readers import infimed_readers
from infimed_plugins.readers.conversation import conversation
from infimed_plugins.readers.directory import Directory
from infimed_plugins.readers.huggingface import HuggingFace
from infimed_plugins.readers.json_array import array_entries
from infimed_plugins.readers.jsonl import Jsonl
from infimed_plugins.readers.llava import Llava
from infimed_plugins.readers.parquet import Parquet
from infimed_plugins.readers.tables import Csv
from infimed_plugins.readers.webdataset import WebDataset


def png(seed=0):
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def everything(reader):
    return [row for shard in reader.shards() for row in reader.read(shard)]


def write_lines(path, *rows):
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def talk(question="<image>\nWhat is shown?", answer="A heart.", **more):
    return {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}], **more}


# jsonl


def test_jsonl_reads_back_the_samples_that_were_written(tmp_path):
    sample = Sample(
        id="s",
        turns=(Turn(role="user", content=(0, "What?", 1)), Turn(role="assistant", content=("This.",))),
        media=(Media(uri=str(tmp_path / "a.png")), Media(kind="dicom", data=b"\x00\xff", options={"frame": 2})),
        references=("A",),
        tags={"modality": "ct"},
    )
    path = tmp_path / "rows.jsonl"
    path.write_text(sample.model_dump_json() + "\n", encoding="utf-8")
    assert everything(Jsonl(path=str(path))) == [sample]
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert everything(Jsonl(path=str(packed))) == [sample]


def test_jsonl_faults_name_file_line_and_what_is_wrong(tmp_path):
    turns = [{"role": "user", "content": ["hi"]}]
    path = write_lines(
        tmp_path / "rows.jsonl",
        {"turns": turns},
        "{broken",
        "",
        {"turns": turns, "tagz": {}},
        [1],
        {"turns": [{"role": "user", "content": [0, "hi"]}]},
        {"turns": [{"role": "user", "content": ["  "]}]},
        {"turns": turns, "media": [{"uri": "../secret.png"}]},
        '{"turns": NaN}',
        {"id": 7, "turns": turns, "media": [{"uri": "scan.nii.gz"}, {"uri": "x.dcm"}, {"uri": "missing.jpg"}]},
    )
    rows = everything(Jsonl(path=str(path)))
    assert [row.code if isinstance(row, Fault) else "ok" for row in rows] == [
        "ok", "bad_row", "bad_row", "bad_row", "bad_row", "empty_text", "outside_root", "bad_row", "ok",
    ]  # fmt: skip
    assert [row.where.rpartition(":")[2] for row in rows if isinstance(row, Fault)] == [
        "2",
        "4",
        "5",
        "6",
        "7",
        "8",
        "9",
    ]
    assert all(row.where.startswith(str(path)) and "\n" not in row.detail for row in rows if isinstance(row, Fault))
    assert rows[0].id == "rows-0" and rows[-1].id == "7"
    assert [medium.kind for medium in rows[-1].media] == ["nifti", "dicom", "image"]
    assert rows[-1].media[2].uri == str(tmp_path / "missing.jpg")  # told where it is opened
    assert "tagz" in rows[2].detail and "medium 0 of 0" in rows[4].detail


def test_a_line_that_is_not_utf8_is_one_fault_and_no_more(tmp_path):
    path = tmp_path / "rows.jsonl"
    good = json.dumps({"turns": [{"role": "user", "content": ["hi"]}]}).encode()
    path.write_bytes(b"\xef\xbb\xbf" + good + b'\n{"id": "\xe9"}\n' + good + b"\n")
    rows = everything(Jsonl(path=str(path)))
    assert [isinstance(row, Fault) for row in rows] == [False, True, False]
    assert "UTF-8" in rows[1].detail


# files


def test_a_pattern_reads_its_files_in_order_with_ids_that_differ(tmp_path):
    for folder in ("b", "a"):
        (tmp_path / folder).mkdir()
        write_lines(tmp_path / folder / "x.jsonl", {"turns": [{"role": "user", "content": [folder]}]})
    reader = Jsonl(path=str(tmp_path / "*" / "*.jsonl"))
    rows = everything(reader)
    assert len(reader.shards()) == 2
    assert [(row.id, row.turns[0].text) for row in rows] == [("a/x-0", "a"), ("b/x-0", "b")]
    assert list(reader.read(reader.shards()[1])) == rows[1:]


def test_paths_are_relative_to_the_current_directory_and_brackets_may_be_a_name(tmp_path, monkeypatch):
    write_lines(tmp_path / "a[1].jsonl", {"turns": [{"role": "user", "content": ["hi"]}]})
    monkeypatch.chdir(tmp_path)
    assert len(everything(Jsonl(path="a[1].jsonl"))) == 1
    with pytest.raises(DataError, match=r"nothing.jsonl: no such file .*check the source's path") as caught:
        everything(Jsonl(path="nothing.jsonl"))
    assert caught.value.code == "missing_file"


def test_max_samples_counts_over_all_files(tmp_path):
    for name in "ab":
        write_lines(tmp_path / f"{name}.jsonl", *[{"turns": [{"role": "user", "content": ["hi"]}]}] * 3)
    rows = everything(Jsonl(path=str(tmp_path / "*.jsonl"), max_samples=4))
    assert [row.id for row in rows] == ["a-0", "a-1", "a-2", "b-0"]


def test_tags_and_licence_are_added_and_a_rows_own_win(tmp_path):
    path = write_lines(
        tmp_path / "r.jsonl",
        {"turns": [{"role": "user", "content": ["hi"]}], "tags": {"source": "own"}, "licence": "MIT"},
        {"turns": [{"role": "user", "content": ["hi"]}]},
    )
    first, second = everything(Jsonl(path=str(path), tags={"source": "set", "stage": "general"}, licence="CC0"))
    assert (first.tags, first.licence) == ({"source": "own", "stage": "general"}, "MIT")
    assert (second.tags, second.licence) == ({"source": "set", "stage": "general"}, "CC0")


def test_the_fingerprint_follows_content_and_settings_but_not_time(tmp_path):
    path = write_lines(tmp_path / "r.jsonl", {"turns": [{"role": "user", "content": ["hi"]}]})
    first = Jsonl(path=str(path)).fingerprint()
    os.utime(path, (1, 1))
    assert Jsonl(path=str(path)).fingerprint() == first
    assert Jsonl(path=str(path), tags={"a": "b"}).fingerprint() != first
    write_lines(path, {"turns": [{"role": "user", "content": ["ho"]}]})
    assert Jsonl(path=str(path)).fingerprint() != first


def test_media_stay_inside_the_root_unless_allowed_links_included(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir(), outside.mkdir()
    (outside / "x.png").write_bytes(png())
    (root / "link.png").symlink_to(outside / "x.png")
    names = [
        "../outside/x.png",
        str(outside / "x.png"),
        "link.png",
        "a/../../outside/x.png",
        "in.png",
        str(root / "in.png"),
    ]
    path = write_lines(tmp_path / "r.jsonl", *[talk(image=name) for name in names])
    rows = everything(Llava(path=str(path), image_root=str(root)))
    assert [isinstance(row, Fault) for row in rows] == [True] * 4 + [False] * 2
    assert {row.code for row in rows[:4]} == {"outside_root"} and "allow_outside: true" in rows[0].detail
    allowed = everything(Llava(path=str(path), image_root=str(root), allow_outside=True))
    assert not any(isinstance(row, Fault) for row in allowed)


# llava


def test_llava_keeps_the_places_of_its_images_in_arrays_and_lines(tmp_path):
    row = talk(
        "Compare <image> with <image>.", "Same.", id="q", image=["a.png", "b.png"], system="Be brief.", source="x"
    )
    array = tmp_path / "array.json"
    array.write_text("\n " + json.dumps([row, row]), encoding="utf-8")
    lines = write_lines(tmp_path / "lines.jsonl", row)
    first = everything(Llava(path=str(array)))[1]
    assert first == everything(Llava(path=str(lines)))[0]
    assert first.turns == (
        Turn(role="system", content=("Be brief.",)),
        Turn(role="user", content=("Compare ", 0, " with ", 1, ".")),
        Turn(role="assistant", content=("Same.",)),
    )
    assert [medium.uri for medium in first.media] == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert first.meta == {"source": "x"} and first.id == "q"


def test_sharegpt_and_chat_messages_are_the_same_conversation(tmp_path):
    inline = "data:image/png;base64," + base64.b64encode(png()).decode()
    path = write_lines(
        tmp_path / "r.jsonl",
        {
            "messages": [{"role": "user", "content": "<image>hi"}, {"role": "assistant", "content": "ho"}],
            "images": ["a.png"],
        },
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}], "images": ["a.png"]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "hi"}]},
                {"role": "assistant", "content": "ho"},
            ]
        },
        {
            "messages": [
                {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "hi"}]},
                {"role": "assistant", "content": "ho"},
            ],
            "images": [{"path": "a.png"}],
        },
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": inline}}, {"text": "hi"}]},
                {"role": "assistant", "content": "ho"},
            ]
        },
    )
    rows = everything(Llava(path=str(path)))
    assert {row.turns for row in rows} == {
        (Turn(role="user", content=(0, "hi")), Turn(role="assistant", content=("ho",)))
    }
    assert {row.media[0].uri for row in rows[:4]} == {str(tmp_path / "a.png")} and rows[4].media[0].data == png()


@pytest.mark.parametrize(
    ("row", "question", "answer"),
    [
        ({"question": "Q", "answer": "A"}, (0, "Q"), "A"),
        ({"instruction": "Look. <image>", "input": "More.", "output": "A"}, ("Look. ", 0, "\nMore."), "A"),
        ({"query": "<image>Q", "response": "A"}, (0, "Q"), "A"),
        ({"caption": "A"}, (0,), "A"),
        ({"question": "Q", "answer": 3, "options": ["3", "4"]}, (0, "Q"), "3"),
    ],
)
def test_rows_of_one_question_and_answer_are_read_in_every_usual_naming(tmp_path, row, question, answer):
    (sample,) = everything(Llava(path=str(write_lines(tmp_path / "r.jsonl", {**row, "image": "a.png"}))))
    assert sample.turns == (Turn(role="user", content=question), Turn(role="assistant", content=(answer,)))
    assert sample.options == tuple(row.get("options", ())) and sample.meta == {}


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (talk(), "image_count"),
        (talk("<image><image>", image="a.png"), "image_count"),
        (talk(image=["a.png", "b.png"]), "image_count"),
        (talk("hi", image="https://host/a.png"), "remote_media"),
        (talk("hi", image="data:image/png;base64,@@"), "bad_row"),
        (talk("hi", image=3), "bad_row"),
        (talk(" ", " "), "empty_text"),
        ({"text": "x"}, "bad_row"),
        ({"conversations": []}, "bad_row"),
        ({"conversations": [{"from": "tool", "value": "x"}]}, "bad_row"),
        ({"conversations": [{"from": "human"}]}, "bad_row"),
        ({"conversations": ["x"]}, "bad_row"),
        ({"conversations": [{"from": "human", "value": [{"type": "video", "video": "x"}]}]}, "bad_row"),
        (talk("hi", id=[1]), "bad_row"),
        (talk("hi", tags=[1]), "bad_row"),
        (talk("hi", options="A"), "bad_row"),
        ({"question": "Q", "answer": " "}, "empty_text"),
        (5, "bad_row"),
        (None, "bad_row"),
    ],
)
def test_a_wrong_row_is_a_fault_with_its_reason_and_the_next_is_read(tmp_path, row, code):
    path = tmp_path / "r.json"
    path.write_text(json.dumps([row, talk("hi")]), encoding="utf-8")
    fault, sample = everything(Llava(path=str(path)))
    assert isinstance(fault, Fault) and fault.code == code and fault.where == f"{path}:1" and fault.sample_id == "r-0"
    assert isinstance(sample, Sample) and sample.id == "r-1"


def test_a_wrong_row_is_told_with_its_own_id(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps([{**talk(), "id": "mine"}, {"id": 7, "text": "x"}]), encoding="utf-8")
    assert [fault.sample_id for fault in everything(Llava(path=str(path)))] == ["mine", "7"]


@pytest.mark.parametrize(
    ("ending", "told"),
    [(",", "not JSON"), ("", "never closed"), (" 5", "',' or ']'"), (",]", "not JSON"), ("] x", "follows")],
)
def test_an_array_that_breaks_off_keeps_the_rows_before_and_names_the_line(tmp_path, ending, told):
    (tmp_path / "r.json").write_text(f"[\n{json.dumps(talk('hi'))},\n{json.dumps(talk('ho'))}\n{ending}")
    first, second, fault = everything(Llava(path=str(tmp_path / "r.json")))
    assert (first.id, second.id) == ("r-0", "r-1")
    assert isinstance(fault, Fault) and fault.code == "bad_file" and told in fault.detail and "line" in fault.detail


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(values, max_size=6), st.integers(1, 30), st.sampled_from([None, 2]))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_an_array_read_in_pieces_is_the_array(entries, num_characters, indent):
    text = io.StringIO(json.dumps(entries, indent=indent))
    assert [entry for _, entry in array_entries(text, num_characters)] == entries


def test_entries_of_an_array_are_told_by_the_line_they_begin_on():
    text = io.StringIO(json.dumps([{"a": 1}, 2, {"b": [1]}], indent=1))
    assert [line for line, _ in array_entries(text, 3)] == [2, 5, 6]


words = st.text(st.characters(codec="utf-8", exclude_characters="<>"), max_size=12)
pieces = st.lists(st.one_of(words, st.just("<image>")), max_size=6).map("".join)


messages = st.tuples(st.sampled_from(["human", "system"]), pieces) | st.tuples(st.just("gpt"), words)


@given(st.lists(messages, min_size=1, max_size=5))
@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
def test_turns_written_back_with_image_marks_are_the_text_that_was_read(messages):
    num_marks = sum(value.count("<image>") for _, value in messages)
    media = [Media(uri=f"/{number}.png") for number in range(num_marks)]
    turns, found = conversation(
        [{"from": role, "value": value} for role, value in messages], media, lambda name: Media()
    )
    written = ["".join(part if isinstance(part, str) else "<image>" for part in turn.content) for turn in turns]
    assert written == [value for _, value in messages]
    assert [index for turn in turns for index in turn.media_indices] == list(range(num_marks))
    assert list(found) == media


# parquet and huggingface


def table(tmp_path, name="t.parquet", **columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / name
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_takes_images_as_bytes_structs_paths_and_lists(tmp_path):
    for images in ([png()], [{"bytes": png(), "path": "x.png"}], [[{"bytes": png(), "path": None}]]):
        path = table(tmp_path, image=images, question=["What?"], answer=["A liver."])
        (row,) = everything(Parquet(path=str(path)))
        assert row.media[0].data == png() and row.turns[0].content == (0, "What?") and row.turns[1].text == "A liver."
    path = table(tmp_path, image=["a.png"], question=["<image>What?"], answer=["A liver."])
    (row,) = everything(Parquet(path=str(path)))
    assert row.media[0].uri == str(tmp_path / "a.png") and row.id == "t-0"


def test_parquet_columns_are_mapped_by_the_run_file(tmp_path):
    path = table(
        tmp_path, uid=["u1", "u2"], scan=["a.dcm", None], q=["Q1", "Q2"], a=["A1", None], m=["ct", None], n=[1, 2]
    )
    columns = {"id": "uid", "image": "scan", "question": "q", "answer": "a", "tags": {"modality": "m"}, "meta": ["n"]}
    first, second = everything(Parquet(path=str(path), columns=columns, batch_rows=1))
    assert (first.id, first.media[0].kind, first.tags, first.meta) == ("u1", "dicom", {"modality": "ct"}, {"n": 1})
    assert second.media == () and [turn.role for turn in second.turns] == ["user"] and second.tags == {}


def test_parquet_conversations_captions_and_wrong_columns(tmp_path):
    talks = [[{"from": "human", "value": "<image>hi"}, {"from": "gpt", "value": "ho"}]]
    (row,) = everything(Parquet(path=str(table(tmp_path, images=[[png()]], conversations=talks))))
    assert row.turns[0].content == (0, "hi")
    (row,) = everything(
        Parquet(path=str(table(tmp_path, image=[png()], caption=["A scan."])), columns={"answer": "caption"})
    )
    assert [turn.content for turn in row.turns] == [(0,), ("A scan.",)]
    (fault,) = everything(Parquet(path=str(table(tmp_path, image=[png()], note=["x"]))))
    assert fault.code == "bad_row" and "image, note" in fault.detail and fault.where.endswith("t.parquet:row 0")
    (fault,) = everything(Parquet(path=str(table(tmp_path, question=["x"])), columns={"image": "scan"}))
    assert "no column 'scan'" in fault.detail
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    (fault,) = everything(Parquet(path=str(tmp_path / "bad.parquet")))
    assert fault.code == "bad_file"


# csv


def test_csv_rows_are_mapped_like_any_other_columns_and_keep_their_lines(tmp_path):
    text = (
        "\ufefffile,caption,kind,a,b,c\r\n"
        'x.png,"A scan,\r\nwith a line break and ""quotes"".",ct,,,\r\n'
        "\r\n"
        ",Only text é,,axial,sagittal,\r\n"
        ",Moved,,axial,,sagittal\r\n"
        "y.png,one,two,many,cells,here,more\r\n"
    )
    (tmp_path / "t.csv").write_bytes(text.encode("utf-8"))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode("utf-8")))
    columns = {"image": "file", "answer": "caption", "options": ["a", "b", "c"], "tags": {"modality": "kind"}}
    for name in ("t.csv", "t.csv.gz"):
        reader = Csv(path=str(tmp_path / name), columns=columns)
        found = []
        for row in reader.read(reader.shards()[0]):
            found.append((row, reader.place()))
        (first, at), (second, then), (moved, _), (fault, _) = found
        assert moved.code == "bad_row" and "option B is empty" in moved.detail
        assert first.turns[-1].text == 'A scan,\r\nwith a line break and "quotes".' and first.tags == {"modality": "ct"}
        assert first.media[0].uri == str(tmp_path / "x.png") and first.options == ()
        assert second.media == () and second.turns[-1].text == "Only text é" and second.options == ("axial", "sagittal")
        assert (at, then) == (f"{tmp_path / name}:2", f"{tmp_path / name}:5") and second.tags == {}
        assert (fault.code, fault.where) == ("bad_row", f"{tmp_path / name}:7") and "7 cells" in fault.detail
    (tmp_path / "t.tsv").write_text('question\tanswer\tchoices\nWhich, please?\tleft\t["left", "right"]\nQ\tA\tleft\n')
    row, fault = everything(Csv(path=str(tmp_path / "t.tsv"), columns={"options": "choices"}))
    assert row.options == ("left", "right") and row.turns[0].text == "Which, please?"
    assert fault.code == "bad_row" and "must hold a list" in fault.detail


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"question,answer\nQ,A\xe9\n", "not UTF-8 (byte 0xe9 in 'answer'); set encoding:"),
        (b'question,answer\nQ,"A\n', "unexpected end of data; mend its quotes"),
        (b"answer,answer\nQ,A\n", "two columns are named 'answer'"),
        (b"", ""),
    ],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path, content, told):
    (tmp_path / "t.csv").write_bytes(content)
    found = everything(Csv(path=str(tmp_path / "t.csv")))
    if told:
        assert len(found) == 1 and isinstance(found[0], Fault) and told in found[0].detail
        assert found[0].where == f"{tmp_path / 't.csv'}:2"
    else:
        assert found == []


def test_huggingface_reads_a_local_directory_without_decoding(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets

        saved = datasets.Dataset.from_dict(
            {"image": [{"bytes": b"no image at all", "path": None}], "question": ["Q"], "answer": ["A"]}
        )
        saved = saved.cast_column("image", datasets.Image())
        datasets.DatasetDict({"test": saved}).save_to_disk(str(tmp_path / "saved"))
        reader = HuggingFace(path=str(tmp_path / "saved"), split="test", tags={"source": "hf"})
        (row,) = everything(reader)
        assert row.media[0].data == b"no image at all" and row.tags == {"source": "hf"} and row.id == "saved-test-0"
        assert reader.fingerprint() == HuggingFace(path=reader.path, split="test", tags={"source": "hf"}).fingerprint()
        with pytest.raises(DataError, match="check path, name and split"):
            everything(HuggingFace(path=str(tmp_path / "saved"), split="train"))


def test_huggingface_reads_a_directory_of_data_files_and_stays_inside_it(tmp_path, monkeypatch):
    import warnings

    folder = tmp_path / "set"
    folder.mkdir()
    names = ["a.png", "../b.png", str(tmp_path / "c.png")]
    write_lines(folder / "train.jsonl", *[{"image": name, "question": "Q", "answer": "A"} for name in names])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets

        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
        first, *others = everything(HuggingFace(path=str(folder)))
        assert first.media[0].uri == str(folder / "a.png")
        assert [fault.code for fault in others] == ["outside_root", "outside_root"]
        elsewhere = HuggingFace(path=str(folder), image_root=str(tmp_path))
        assert [isinstance(row, Fault) for row in everything(elsewhere)] == [False, True, False]


# webdataset


def shard(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_webdataset_groups_members_by_key(tmp_path, ending):
    members = [
        ("train/0001.png", png(1)),
        ("train/0001.txt", b"A chest."),
        ("train/0002.1.png", png(2)),
        ("train/0002.0.png", png(3)),
        ("train/0002.json", json.dumps(talk("<image> or <image>?", tags={"modality": "mr"})).encode()),
        ("0003.dcm", b"x"),
        ("0003.json", b'{"question": "Which?", "answer": "CT", "id": "own"}'),
    ]
    path = shard(tmp_path / f"s-0.{ending}", members, "w:gz" if ending == "tar.gz" else "w")
    first, second, third = everything(WebDataset(path=str(path)))
    assert (first.id, first.media[0].data) == ("train/0001", png(1))
    assert [turn.content for turn in first.turns] == [(0,), ("A chest.",)]
    assert [medium.data for medium in second.media] == [png(3), png(2)] and second.tags == {"modality": "mr"}
    assert (third.id, third.media[0].kind) == ("own", "dicom")
    assert sorted(os.listdir(tmp_path)) == [f"s-0.{ending}"]


def test_webdataset_faults_are_told_by_key_and_a_cut_tar_keeps_what_came_before(tmp_path):
    members = [
        ("a.png", png()),
        ("b.png", png()),
        ("b.json", b"{no"),
        ("c.txt", b"\xff\xfe\xff"),
        ("d.json", b'{"conversations": [{"from": "human", "value": "<image>"}], "images": ["/etc/passwd"]}'),
        ("e.png", png() * 3),
        ("e.txt", b"fine"),
        ("f.txt", b"fine"),
    ]
    path = shard(tmp_path / "s.tar", members)
    rows = everything(WebDataset(path=str(path), max_member_bytes=len(png()) * 2, text_only=True))
    assert [row.code if isinstance(row, Fault) else "ok" for row in rows] == [
        "empty_text", "bad_row", "bad_row", "image_count", "too_large", "ok",
    ]  # fmt: skip
    assert rows[1].where == f"{path}:b"
    cut = tmp_path / "cut.tar"
    shard(cut, [("a.txt", b"one"), ("b.txt", b"two"), ("c.png", png() * 20)])
    cut.write_bytes(cut.read_bytes()[:2600])
    rows = everything(WebDataset(path=str(cut), text_only=True))
    assert [row.id for row in rows if isinstance(row, Sample)] == ["a", "b"] or rows[0].id == "a"
    assert isinstance(rows[-1], Fault) and rows[-1].code == "bad_file"


def test_links_in_a_shard_are_never_followed(tmp_path):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as tar:
        link = tarfile.TarInfo("a.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    (fault,) = everything(WebDataset(path=str(path)))
    assert fault.code == "outside_root" and "never followed" in fault.detail


# directory


def test_a_directory_pairs_images_with_texts_in_sorted_order(tmp_path):
    (tmp_path / "ct").mkdir()
    for name in ("b.png", "ct/a.nii.gz", "c.jpg"):
        (tmp_path / name).write_bytes(png())
    (tmp_path / "b.txt").write_text("A skull.\n", encoding="utf-8")
    (tmp_path / "ct/a.txt").write_text("A brain.", encoding="utf-8")
    (tmp_path / "notes.md").write_text("x")
    rows = everything(Directory(path=str(tmp_path), folder_tag="modality", question="What is it?"))
    assert isinstance(rows[1], Fault) and rows[1].code == "empty_text" and rows[1].where == str(tmp_path / "c.jpg")
    assert [row.id for row in rows if isinstance(row, Sample)] == ["b.png", "ct/a.nii.gz"]
    assert rows[2].media[0].kind == "nifti" and rows[2].tags == {"modality": "ct"}
    assert [turn.content for turn in rows[0].turns] == [(0, "What is it?"), ("A skull.",)]
    (tmp_path / "ct" / "latin.png").write_bytes(png())
    (tmp_path / "ct" / "latin.txt").write_bytes(b"na\xefve")
    (latin,) = (row for row in everything(Directory(path=str(tmp_path))) if "latin" in str(row))
    assert latin.code == "bad_row" and "latin.txt: is not UTF-8" in latin.detail and "set encoding:" in latin.detail
    assert latin.sample_id == "ct/latin.png"
    before = Directory(path=str(tmp_path)).fingerprint()
    (tmp_path / "b.txt").write_text("A skill.", encoding="utf-8")
    assert Directory(path=str(tmp_path)).fingerprint() != before
    with pytest.raises(DataError, match="no such folder"):
        everything(Directory(path=str(tmp_path / "none")))


# all


def test_no_damage_to_a_file_stops_a_reader(tmp_path):
    rows = [talk(id=f"r{number}", image="a.png") for number in range(4)]
    write_lines(tmp_path / "g.jsonl", *rows)
    (tmp_path / "g.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "g.json.gz").write_bytes(gzip.compress((tmp_path / "g.json").read_bytes(), mtime=0))
    table(tmp_path, "g.parquet", image=[png()] * 4, question=["Q"] * 4, answer=["A"] * 4)
    (tmp_path / "g.csv").write_text("image,question,answer\n" + 'a.png,Q,"A, and more"\n' * 4)
    members = [
        (f"{number}.{ending}", content) for number in range(3) for ending, content in (("png", png()), ("txt", b"x"))
    ]
    shard(tmp_path / "g.tar", members)
    shard(tmp_path / "g.tar.gz", members, "w:gz")
    rng = np.random.default_rng(11)
    readers = {
        "jsonl": Llava,
        "json": Llava,
        "json.gz": Llava,
        "parquet": Parquet,
        "csv": Csv,
        "tar": WebDataset,
        "tar.gz": WebDataset,
    }
    for ending, reader in readers.items():
        good = np.frombuffer((tmp_path / f"g.{ending}").read_bytes(), dtype=np.uint8)
        for trial in range(25):
            bad = good.copy()
            bad[rng.integers(0, len(bad), 3)] = rng.integers(0, 256, 3)
            path = tmp_path / f"bad.{ending}"
            path.write_bytes(bad[: rng.integers(1, len(bad))].tobytes() if trial % 3 == 0 else bad.tobytes())
            for row in everything(reader(path=str(path))):
                assert isinstance(row, (Sample, Fault))
                if isinstance(row, Fault):
                    assert row.where.startswith(str(path)) and "\n" not in row.detail


def test_the_guide_names_every_reader_and_setting_and_its_example_is_a_sample(tmp_path):
    guide = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    for name, place in infimed_readers().items():
        assert f"`{name}`" in guide
        kind = pkgutil.resolve_name(place)
        for field in kind.model_fields:
            assert f"`{field}`" in guide or field in ("batch_rows",), f"{name}: {field}"
    (example,) = [part.partition("```")[0] for part in guide.split("```json\n")[1:]]
    write_lines(tmp_path / "r.jsonl", example)
    (row,) = [row for row in everything(Jsonl(path=str(tmp_path / "r.jsonl"))) if not isinstance(row, Fault)]
    assert row.id == "ct-1" and row.media[0].kind == "dicom" and row.turns[0].content[0] == 0


@pytest.mark.parametrize("name", ["serial", "processes"])
def test_row_that_only_the_run_rejects_is_told_with_its_place_too(name: str, tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "Which plane?"}, {"from": "gpt", "value": "axial"}]
    for part in range(2):
        rows = [
            {"id": f"{part}-{n}", "conversations": [*talk[:1], {**talk[1], "value": "x" if n else ""}]} for n in (1, 0)
        ]
        (tmp_path / f"{part}.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    sources = [{"use": "llava", "with": {"path": str(tmp_path / "*.json")}}]
    run({"run": {"name": "places"}, "data": {"sources": sources, "executor": {"use": name}}}, tmp_path)
    (place,) = (tmp_path / "runs" / "places" / "artifacts").glob("read-*/faults.jsonl")
    faults = [json.loads(line) for line in place.read_text().splitlines()]
    assert [(fault["sample_id"], fault["code"]) for fault in faults] == [("0-0", "empty_text"), ("1-0", "empty_text")]
    assert [fault["where"] for fault in faults] == [f"{tmp_path / f'{part}.json'}:15" for part in range(2)]
