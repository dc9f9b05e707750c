"""Pipes and devices are refused by every modality, and nothing makes one wait or take memory without end."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from infimed_core import DataError, Media
from infimed_plugins.dicom.modality import Dicom
from infimed_plugins.image.modality import Image
from infimed_plugins.nifti.modality import Nifti

sys.path.insert(0, str(Path(__file__).parent))
from pixel_files import code_of

MODALITIES = [Image(), Dicom(), Nifti()]


@pytest.mark.parametrize("modality", MODALITIES, ids=lambda modality: type(modality).__name__)
@pytest.mark.parametrize("call", ["probe", "load"])
def test_pipes_devices_sockets_and_folders_are_refused_and_not_waited_for(modality, call, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", Path("/dev/zero"), Path("/dev/null"), tmp_path):
        codes = []
        read = threading.Thread(
            target=lambda path=path, codes=codes: codes.append(code_of(getattr(modality, call), Media(uri=str(path)))),
            daemon=True,
        )
        read.start()
        read.join(timeout=60)
        assert codes == ["unreadable"], path


@pytest.mark.parametrize("modality", MODALITIES, ids=lambda modality: type(modality).__name__)
@pytest.mark.parametrize(
    ("uri", "code"),
    [("none", "missing_file"), ("n" * 300, "unreadable"), ("a\0b", "unreadable"), ("loop", "unreadable")],
)
def test_names_that_lead_to_no_file_are_faults(modality, uri, code, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert code_of(modality.probe, Media(uri=str(tmp_path / uri))) == code
    assert code_of(modality.load, Media(uri=str(tmp_path / uri / "deeper"))) in ("missing_file", "unreadable")


@pytest.mark.parametrize("modality", MODALITIES, ids=lambda modality: type(modality).__name__)
def test_empty_and_tiny_files_are_faults(modality):
    for length in (0, 1, 2, 3, 4, 8, 12, 16, 128, 132, 140, 348, 540):
        for byte in (b"\0", b"\xff", b"P", b"I", b"\x89"):
            with pytest.raises(DataError):
                modality.load(Media(data=byte * length))
