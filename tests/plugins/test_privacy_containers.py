"""A copy holds what its header declares: identity planted beside, behind and between pixels is gone, pixels are not."""

from __future__ import annotations

import gzip
import random
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from infimed_core import Media
from infimed_plugins.quality.installed import media_loader
from infimed_plugins.quality.privacy.command import deidentify
from infimed_plugins.quality.privacy.tables import clean_table
from infimed_plugins.quality.privacy.traces import left_in, traces_of

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import privacy_files

KEY = b"0123456789abcdef"
PLACES = [(ending, make, place) for ending, make, listed in privacy_files.MAKERS for place in listed]


def everything(folder: Path) -> bytes:
    """Every byte of the copies, unpacked where they are compressed."""
    pieces = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        pieces += [path.name.encode(), gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data]
        at = data.find(b"IDAT")
        if data.startswith(b"\x89PNG") and at > 0:
            pieces.append(zlib.decompressobj().decompress(data[at + 4 :]))
    return b"\n".join(pieces)


@pytest.mark.parametrize(("ending", "make", "place"), PLACES, ids=[f"{make.__name__}-{p}" for _, make, p in PLACES])
def test_nothing_planted_is_left_and_the_pixels_are_as_they_were(tmp_path, ending, make, place):
    chance = random.Random(place)
    who = privacy_files.person(chance)
    data = make(chance, who, place)
    source = tmp_path / "in"
    source.mkdir()
    name = f"{who['plain'].replace(' ', '_')}{ending or '.bin'}"
    (source / name).write_bytes(data)
    body = deidentify(source, tmp_path / "out", key=KEY, read_pixels=False)
    assert body["num_written"] == 1 and body["found_in_the_copy"] == []
    left = everything(tmp_path / "out")
    for value in (who["mrn"], who["phone"], who["name"], who["uid"], who["plain"].split()[1]):
        assert value.encode() not in left
    (copy,) = [path for path in (tmp_path / "out" / "media").rglob("*") if path.is_file()]
    kind = {".dcm": "dicom", ".nii": "nifti"}.get(ending, "image")
    loader = media_loader()
    if place != "unused bits":  # a viewer shows what lies there
        before, after = loader.load(Media(kind=kind, data=data)), loader.load(Media(kind=kind, uri=str(copy)))
        assert (before == after).all()


def test_bits_that_are_not_stored_are_cleared_and_the_stored_ones_stay():
    import io

    import pydicom

    from infimed_plugins.quality.privacy.containers import Changes, rebuild_pixel_data

    chance = random.Random(0)
    dataset = pydicom.dcmread(io.BytesIO(privacy_files._dicom(chance, privacy_files.person(chance), "unused bits")))
    before = np.frombuffer(dataset.PixelData, dtype="<u2")
    changes: Changes = Changes()
    rebuild_pixel_data(dataset, "1.2.840.10008.1.2.1", changes)
    after = np.frombuffer(dataset.PixelData, dtype="<u2")
    assert (after == before & 255).all() and changes["unused bits of the pixels", "removed"] == 1


def test_a_table_beside_the_images_comes_along_and_names_the_copies(tmp_path):
    values, tidy = privacy_files.write(tmp_path / "in", 24, 4, seed=1)
    body = deidentify(tmp_path / "in", tmp_path / "out", key=KEY, read_pixels=False)
    assert body["num_written"] == 24 + 4 + 1 and body["found_in_the_copy"] == []
    left = everything(tmp_path / "out")
    assert not [value for value in values if value.encode() in left]
    lines = (tmp_path / "out" / "table-0001.csv").read_text().splitlines()
    assert len(lines) == 25 and all("normal chest" in line for line in lines[1:])
    places = [line.split(",")[1] for line in lines[1:]]
    assert all((tmp_path / "out" / place).is_file() for place in places) and len(set(places)) == 24
    copies = {path.read_bytes() for path in (tmp_path / "out" / "media").rglob("*") if path.is_file()}
    assert {data for name, data in tidy.items() if name.endswith(".png")} <= copies, "clean pictures stay bit by bit"


def test_equal_ids_of_a_table_stay_equal_and_a_broken_table_is_withheld(tmp_path):
    from infimed_plugins.quality.privacy.pseudonyms import Pseudonyms

    table = b"subject_id,note\nR-31415,seen on 2020-03-13\nR-31415,94F with cough\nR-27182,stable\n"
    copy, changes = clean_table(table, ",", {}, Pseudonyms(KEY))
    first, second, third = (line.split(",") for line in copy.decode().splitlines()[1:])
    assert first[0] == second[0] != third[0] and "31415" not in copy.decode()
    assert first[1] == "seen on [DATE]" and second[1].startswith("[AGE]") and changes["table", "given a pseudonym"] == 3
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.csv").write_bytes(b'"open quote,\n\0')
    body = deidentify(tmp_path / "in", tmp_path / "out", key=KEY, read_pixels=False)
    assert body["withheld"] == {"bad_table": 1}


def test_the_check_finds_what_a_cleaning_left(tmp_path):
    chance = random.Random(3)
    who = privacy_files.person(chance)
    data = privacy_files._dicom(chance, who, "header")
    traces = traces_of(Media(kind="dicom"), data)
    assert {who["mrn"], who["name"], who["uid"]} <= traces
    assert left_in(data, traces) and not left_in(b"nothing of the kind", traces)
    assert left_in(gzip.compress(b"x" * 50 + who["mrn"].encode()), traces) == [50]
