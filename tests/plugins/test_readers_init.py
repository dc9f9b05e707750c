"""``infimed init --data FOLDER``: the run file that it writes reads what lies there, and says what it does not."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from infimed_core import InfimedError, Reader, Sample, load_plugins
from infimed_core.cli import application
from infimed_core.testing import make_image, run
from infimed_plugins.readers.command import init_command, written

STUDY = "1.2.826.0.1.3680043.8.498"


def archive(folder: Path) -> None:
    """Films by UID, half of them DICOM without an ending; a German table in cp1252 that names them, with a bad byte."""
    (folder / "films").mkdir()
    lines = ["film;clinique;compte_rendu;sexe;;"]
    for number in range(40):
        film = folder / "films" / f"{STUDY}.{number}"
        if number % 2:
            film.write_bytes(bytes(128) + b"DICM" + bytes(300))
        else:
            film.with_name(f"{film.name}.png").write_bytes(make_image(seed=number))
        lines.append(
            f"{STUDY}.{number};;Rundherd n° {number}: Größe unverändert, Lungenödem möglich.;{'FM'[number % 2]};;"
        )
    content = "\r\n".join(lines).encode("cp1252")
    at = content.index("n° 17".encode("cp1252"))
    (folder / "liste.csv").write_bytes(content[:at] + b"\x8d" + content[at:])


def llava(folder: Path) -> None:
    (folder / "images").mkdir()
    talk = [{"from": "human", "value": "<image>Which?"}, {"from": "gpt", "value": "A lung."}]
    rows = []
    for number in range(5):
        (folder / "images" / f"{number}.png").write_bytes(make_image(seed=number))
        rows.append({"id": number, "image": f"{number}.png", "conversations": talk})
    (folder / "rows.json").write_text(json.dumps(rows))


def own(folder: Path) -> None:
    turns = [{"role": "user", "content": ["Q"]}, {"role": "assistant", "content": ["A"]}]
    for name in ("a.jsonl", "b.jsonl"):
        (folder / name).write_text(json.dumps({"turns": turns}) + "\n")


def parquet(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = {"image": [make_image(seed=n) for n in range(3)], "question": ["Q"] * 3, "answer": ["A"] * 3}
    pq.write_table(pa.table(rows), folder / "train.parquet")


def shards(folder: Path) -> None:
    for part in range(2):
        with tarfile.open(folder / f"part-{part}.tar", "w") as tar:
            for name, content in (("k.png", make_image(seed=part)), ("k.txt", b"A scan.")):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def captions(folder: Path) -> None:
    for number in range(3):
        (folder / f"{number}.png").write_bytes(make_image(seed=number))
        (folder / f"{number}.txt").write_text("A scan.")


def kit(folder: Path) -> None:
    rows = [{"question": "Which?", "options": {"A": "E. coli", "B": "B. cereus"}, "answer": "B", "img_name": "1.png"}]
    (folder / "imgs").mkdir()
    (folder / "imgs" / "1.png").write_bytes(make_image())
    (folder / "train.json").write_text(json.dumps(rows * 2))


def described(folder: Path) -> None:
    (folder / "mine.json").write_text(json.dumps([{"frage": "Q", "antwort": "A"}] * 3))
    info = {"mine": {"file_name": "mine.json", "columns": {"prompt": "frage", "response": "antwort"}}}
    (folder / "dataset_info.json").write_text(json.dumps(info))


def studies(folder: Path) -> None:
    for number in range(3):
        (folder / f"p{number}").mkdir()
        for view in ("pa", "lateral"):
            (folder / f"p{number}" / f"{view}.png").write_bytes(make_image(seed=number))
        (folder / f"p{number}" / "befund.txt").write_text("A scan.")


def volumes(folder: Path) -> None:
    import nibabel
    import numpy as np

    for number in range(2):
        (folder / f"p{number}").mkdir()
        volume = nibabel.Nifti1Image(np.full((4, 5, 6), number, np.int16), np.eye(4))
        nibabel.save(volume, folder / f"p{number}" / "t1.nii.gz")
        (folder / f"p{number}" / "report.txt").write_text("A scan.")


FOLDERS: dict[str, tuple[Any, str, int]] = {
    "archive": (archive, "csv", 39), "llava": (llava, "llava", 5), "own": (own, "jsonl", 2),
    "parquet": (parquet, "parquet", 3),
    "shards": (shards, "webdataset", 2), "captions": (captions, "directory", 3), "kit": (kit, "medevalkit", 2),
    "described": (described, "llava", 3), "studies": (studies, "studies", 3), "volumes": (volumes, "volumes", 2),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_written_reads_the_folder(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, use, num_samples = FOLDERS[name]
    (tmp_path / "data").mkdir()
    make(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    text, said = written(tmp_path / "data", tmp_path)
    (source,) = yaml.safe_load(text)["data"]["sources"]
    assert source["use"] == use and said.startswith(f"{num_samples} of the "), text
    reader = load_plugins().find("reader", use).model_validate(source["with"])
    assert isinstance(reader, Reader) and not reader.problems({})
    rows = [row for shard in reader.shards() for row in reader.read(shard) if isinstance(row, Sample)]
    assert len(rows) == num_samples and all(row.turns[-1].role == "assistant" for row in rows)
    assert all(medium.data or Path(medium.uri or "").is_file() for row in rows for medium in row.media)
    assert (tmp_path / "data").as_posix() not in "".join(text.split("#   left out")[0].splitlines()[3:])


def test_an_archive_is_read_with_every_row_accounted_for_by_ten_lines(
    tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    archive(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    init_command(Path("data"))
    assert "39 of the 40 rows" in capsys.readouterr().out
    text = (tmp_path / "run.yaml").read_text(encoding="utf-8")
    assert "liste.csv:19: not cp1252 (byte 0x8d in 'compte_rendu')" in text
    body = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(body) <= 10, text
    (source,) = yaml.safe_load(text)["data"]["sources"]
    columns = {"image": "film", "answer": "compte_rendu"}
    assert source["with"] == {
        "path": "data/liste.csv",
        "encoding": "cp1252",
        "image_root": "data/films",
        "columns": columns,
    }
    record = run(yaml.safe_load(text), tmp_path)
    step = next(step for step in record.steps if step.name == "read")
    assert (step.num_in, step.num_out, step.dropped) == (40, 39, {"bad_row": 1})
    rows = (tmp_path / "runs" / "data" / str(step.artifact) / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum('"kind": "dicom"' in row or '"kind":"dicom"' in row for row in rows) == 19
    assert all("Größe unverändert, Lungenödem möglich" in row for row in rows)


def test_what_is_written_as_a_comment_is_a_run_file_too(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "data").mkdir()
    captions(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    text, _ = written(tmp_path / "data", tmp_path)
    (tmp_path / "whole.yaml").write_text(re.sub(r"(?m)^# (quality|model|resolution|packing|training):", r"\1:", text))
    checked = CliRunner().invoke(application(load_plugins(), "check"), ["check", "whole.yaml"])
    assert checked.exit_code == 0 and "training" in checked.output, checked.output


def test_nothing_is_written_over_and_a_folder_of_nothing_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, told in (("none", "no such folder"), (".", "nothing in it becomes a sample")):
        with pytest.raises(InfimedError, match=told):
            written(tmp_path / folder, tmp_path)
    captions(tmp_path)
    (tmp_path / "run.yaml").write_text("mine")
    with pytest.raises(InfimedError, match="is there already"):
        init_command(tmp_path)
    assert (tmp_path / "run.yaml").read_text() == "mine"
    init_command(tmp_path, force=True)
    assert "use: directory" in (tmp_path / "run.yaml").read_text()


def test_flags_write_a_whole_run_file_that_keeps_the_test_set_out_of_training(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "images").mkdir(parents=True)
    for name, numbers in (("train.csv", range(4)), ("test.csv", range(4, 6))):
        rows = ["image,question,answer"]
        for number in numbers:
            (tmp_path / "data" / "images" / f"{number}.png").write_bytes(make_image(seed=number))
            rows.append(f"images/{number}.png,Which?,axial")
        (tmp_path / "data" / name).write_text("\n".join(rows) + "\n")
    init_command(Path("data"), to=Path("alone.yaml"))
    text = (tmp_path / "alone.yaml").read_text()
    assert "path: data/train.csv" in text and "not read, because the name says test set: data/test.csv" in text
    for model in ("tiny", "Qwen/Qwen3-VL-2B-Instruct"):
        init_command(Path("data"), test=Path("data/test.csv"), model=model, score=True, train=True, force=True)
        body = yaml.safe_load((tmp_path / "run.yaml").read_text())
        assert [source["with"]["path"] for source in body["data"]["sources"]] == ["data/train.csv"]
        (benchmark,) = body["evaluation"]["benchmarks"]
        assert benchmark["with"]["reader"]["with"]["path"] == "data/test.csv"
        assert {"quality", "model", "packing", "training", "report"} <= body.keys()
        checked = CliRunner().invoke(application(load_plugins(), "check"), ["check", "run.yaml"])
        assert checked.exit_code == 0, checked.output
    served = {"model": "openai:http://127.0.0.1:8000/v1#m", "test": Path("data/test.csv"), "force": True}
    init_command(Path("data/train.csv"), **served)
    body = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert "data" not in body and body["model"]["with"] == {"base_url": "http://127.0.0.1:8000/v1", "model": "m"}
    with pytest.raises(InfimedError, match="a server cannot be trained"):
        init_command(Path("data"), train=True, **served)


def test_several_tables_beside_a_test_set_are_each_a_source(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("a.csv", "b.csv", "test.csv", "contest.csv"):
        (tmp_path / "data" / name).write_text(f"question,answer\nWhich of {name}?,axial\n")
    text, _ = written(tmp_path / "data", tmp_path)
    sources = yaml.safe_load(text)["data"]["sources"]
    assert [source["with"]["path"] for source in sources] == [f"data/{name}.csv" for name in ("a", "b", "contest")]
