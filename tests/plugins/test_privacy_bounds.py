"""Clean copies and the look for identity in a header unpack no further than memory holds, and wait for nothing."""

from __future__ import annotations

import gzip
import os
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom.filewriter import write_file_meta_info

from infimed_core import DataError, Media
from infimed_plugins.quality.privacy import unpacking
from infimed_plugins.quality.privacy.copied_media import CopiedMedia
from infimed_plugins.quality.privacy.dicom import DicomCleaner
from infimed_plugins.quality.privacy.header import find_in_header
from infimed_plugins.quality.privacy.pseudonyms import Pseudonyms

MIB = 2**20


def deflated(body: bytes) -> bytes:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    meta, file = FileMetaDataset(), BytesIO()
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    write_file_meta_info(file, meta, enforce_standard=True)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return bytes(128) + b"DICM" + file.getvalue() + packer.compress(body) + packer.flush()


BOMBS = {"nifti": gzip.compress(bytes(8 * MIB)) * 2, "dicom": deflated(bytes(8 * MIB))}


@pytest.fixture
def copies(tmp_path: Path) -> CopiedMedia:
    return CopiedMedia(DicomCleaner(Pseudonyms(b"k" * 32), "remove", "remove", False, None), tmp_path / "out")


@pytest.mark.parametrize("kind", BOMBS)
def test_what_unpacks_to_more_than_memory_holds_is_refused(
    copies: CopiedMedia, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(unpacking, "MOST_BYTES", MIB)
    for call in (copies.copy, find_in_header):
        with pytest.raises(DataError) as raised:
            call(Media(kind=kind, data=BOMBS[kind]))
        assert raised.value.code == "too_large"


def test_several_gzip_streams_are_one_file_and_a_cut_one_is_none() -> None:
    parts = [gzip.compress(b"a" * 100), gzip.compress(b"b" * 50)]
    assert unpacking.unpacked(b"".join(parts) + b"\0\0") == b"a" * 100 + b"b" * 50
    assert unpacking.unpacked(b"plain") == b"plain"
    for bad, code in ((parts[0][:-9], "truncated"), (parts[0][:20] + b"\xff" * 9 + parts[0][29:], "corrupt")):
        with pytest.raises(DataError) as raised:
            unpacking.unpacked(bad)
        assert raised.value.code in (code, "truncated")


@pytest.mark.parametrize("kind", ["dicom", "nifti", "image", "montage"])
def test_a_pipe_is_not_waited_for(copies: CopiedMedia, tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    options: dict[str, Any] = {"parts": [{"kind": "image", "uri": str(tmp_path / "pipe")}]} if kind == "montage" else {}
    for call in (copies.copy, find_in_header):
        with pytest.raises(DataError) as raised:
            call(Media(kind=kind, uri=str(tmp_path / "pipe"), options=options))
        assert raised.value.code == "unreadable"


def test_a_volume_that_is_no_bomb_is_copied_whole(copies: CopiedMedia, tmp_path: Path) -> None:
    volume = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    data = gzip.compress(nibabel.Nifti1Image(volume, np.eye(4)).to_bytes())
    made, _ = copies.copy(Media(kind="nifti", data=data))
    assert (np.asarray(nibabel.load(tmp_path / "out" / str(made.uri)).dataobj) == volume).all()  # type: ignore[attr-defined]
