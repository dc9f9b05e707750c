"""Files with identity planted in every place that a file has: beside, behind, between and within what is shown."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Planted:
    """A file, its name, and the values in it (name and content) of which none may stand in any copy."""

    name: str
    data: bytes
    values: tuple[str, ...]


def person(chance: random.Random) -> dict[str, str]:
    """A made-up patient."""
    family = chance.choice(("OKONKWO", "LINDQVIST", "BARANOWSKA", "FITZGERALD", "MARCHETTI", "TANAKA", "HOFFMANN"))
    given = chance.choice(("MARIA", "JOHN", "ANNA", "PETER", "SUSAN", "DAVID"))
    year, month, day = chance.randint(1930, 2005), chance.randint(1, 12), chance.randint(10, 28)
    return {
        "name": f"{family}^{given}",
        "plain": f"{given.title()} {family.title()}",
        "mrn": f"{chance.randint(10**7, 10**8 - 1)}",
        "birth": f"{year}{month:02d}{day:02d}",
        "date": f"20{chance.randint(10, 24)}-{month:02d}-{day:02d}",
        "uid": f"1.2.840.113564.{chance.randint(10**9, 10**10)}.2020{month:02d}{day:02d}{chance.randint(10**8, 10**9)}",
        "phone": f"617-555-{chance.randint(1000, 9999)}",
    }


def texture(chance: random.Random, channels: int = 1) -> NDArray[np.uint8]:
    """A small smooth picture without letters."""
    noise = np.random.default_rng(chance.randrange(2**32)).normal(size=(12, 16))
    grey = np.kron(noise, np.ones((8, 8)))
    grey = np.clip((grey - grey.min()) / np.ptp(grey) * 180 + 20, 0, 255).astype(np.uint8)
    return grey if channels == 1 else np.repeat(grey[..., None], channels, axis=2)


def remark(who: dict[str, str]) -> bytes:
    """A line that tells who it is."""
    return f"Patient {who['name']} MRN {who['mrn']} phone {who['phone']}".encode()


def _jpeg(chance: random.Random, who: dict[str, str], place: str) -> bytes:
    from PIL import Image

    file, options = io.BytesIO(), {}
    if place == "comment":
        options["comment"] = remark(who)
    if place == "exif":
        exif = Image.Exif()
        exif[0x010E], exif[0x013B] = remark(who).decode(), who["plain"]
        options["exif"] = exif
    Image.fromarray(texture(chance, 3)).save(file, "JPEG", quality=90, **options)
    data = file.getvalue()
    if place == "behind":
        data += remark(who)
    if place == "unknown segment":
        data = data[:2] + b"\xff\xe7" + struct.pack(">H", len(remark(who)) + 2) + remark(who) + data[2:]
    return data


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(chance: random.Random, who: dict[str, str], place: str) -> bytes:
    grey = texture(chance)
    rows = b"".join(b"\0" + row.tobytes() for row in grey)
    packed = zlib.compress(rows + remark(who) if place == "extra rows" else rows)
    packed += remark(who) if place == "behind the stream" else b""
    head = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 0)
    text = _chunk(b"tEXt", b"Comment\0" + remark(who)) if place == "text" else b""
    own = _chunk(b"phIX", remark(who)) if place == "own chunk" else b""
    end = remark(who) if place == "behind" else b""
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + text + own + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"") + end
    )


def _others(chance: random.Random, who: dict[str, str], place: str) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    frames = [Image.fromarray(texture(chance, 3)) for _ in range(3)]
    if place == "TIFF tag":
        frames[0].save(file, "TIFF", save_all=True, append_images=frames[1:], tiffinfo={270: remark(who).decode()})
    elif place == "GIF comment":
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], comment=remark(who))
    else:
        frames[0].save(file, "WEBP", lossless=True, save_all=True, append_images=frames[1:])
    return file.getvalue() + remark(who)


def _nifti(chance: random.Random, who: dict[str, str], place: str) -> bytes:
    import nibabel

    image: Any = nibabel.Nifti1Image(texture(chance).astype(np.int16)[..., None], np.eye(4))
    if place == "texts":
        image.header["descrip"], image.header["db_name"] = remark(who)[:79], who["mrn"].encode()
    if place == "extension":
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", remark(who)))
    data: bytes = image.to_bytes()
    return data + remark(who) if place == "behind" else data


def _dicom(chance: random.Random, who: dict[str, str], place: str) -> bytes:
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

    grey = texture(chance)
    meta: Any = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", who["uid"]
    preamble = remark(who)[:128].ljust(128, b"\0") if place == "preamble" else b"\0" * 128
    made: Any = FileDataset("", {}, file_meta=meta, preamble=preamble)
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = meta.MediaStorageSOPClassUID, who["uid"], "OT"
    made.PatientName, made.PatientID, made.PatientBirthDate = who["name"], who["mrn"], who["birth"]
    made.Rows, made.Columns, made.SamplesPerPixel = *grey.shape, 1
    made.PhotometricInterpretation, made.PixelRepresentation = "MONOCHROME2", 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    made.PixelData = grey.tobytes()
    if place == "behind the pixels":
        made.PixelData += remark(who).ljust(len(remark(who)) + len(remark(who)) % 2, b" ")
    if place == "unused bits":
        made.BitsAllocated, made.BitsStored, made.HighBit = 16, 8, 7
        bits = np.zeros(grey.size, dtype=np.uint16)
        bits[: len(remark(who))] = np.frombuffer(remark(who), dtype=np.uint8)
        made.PixelData = (grey.ravel().astype(np.uint16) | (bits << 8)).tobytes()
    if place == "JPEG comment in a frame":
        made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(grey).save(file, "JPEG", quality=90, comment=remark(who))
        made.PixelData = encapsulate([file.getvalue()])
        made["PixelData"].is_undefined_length = True
    if place == "private":
        made.private_block(0x0099, "ACME", create=True).add_new(1, "LO", who["name"])
    if place == "overlay":
        made.add_new(0x60003000, "OW", remark(who) + b" " * (len(remark(who)) % 2))
        made.add_new(0x60000022, "LO", remark(who).decode()[:60])
    if place == "unknown element":
        made.add_new(0x00091010, "UN", remark(who))
        made.add_new(0x001AFFF0, "UN", remark(who))
    if place == "sequence":
        item: Any = Dataset()
        item.PersonName, item.TextValue = who["name"], remark(who).decode()
        made.ContentSequence = [item]
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


MAKERS: tuple[tuple[str, Callable[[random.Random, dict[str, str], str], bytes], tuple[str, ...]], ...] = (
    (".jpg", _jpeg, ("comment", "exif", "behind", "unknown segment")),
    (".png", _png, ("text", "own chunk", "behind", "behind the stream", "extra rows")),
    ("", _others, ("TIFF tag", "GIF comment", "WebP behind")),
    (".nii", _nifti, ("texts", "extension", "behind")),
    (".dcm", _dicom, ("header", "preamble", "behind the pixels", "unused bits", "JPEG comment in a frame", "private",
                      "overlay", "unknown element", "sequence")),
)  # fmt: skip


def planted(number: int, seed: int) -> Iterator[Planted]:
    """Files with identity in each place by turns; every second name holds some too."""
    chance = random.Random(seed)
    places = [(ending, make, place) for ending, make, listed in MAKERS for place in listed]
    for at in range(number):
        ending, make, place = places[at % len(places)]
        who = person(chance)
        stem = (f"{who['plain'].replace(' ', '_')}_{who['mrn']}", f"CR.{who['uid']}", f"scan_{at:03d}")[at % 3]
        values = (
            who["mrn"],
            who["name"],
            who["phone"],
            who["uid"],
            who["plain"],
            who["plain"].replace(" ", "_"),
            who["birth"],
        )
        yield Planted(
            stem + (ending or {"TIFF tag": ".tif", "GIF comment": ".gif"}.get(place, ".webp")),
            make(chance, who, place),
            values,
        )


def clean(number: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Pictures without anything but pixels."""
    from PIL import Image

    chance = random.Random(seed)
    for at in range(number):
        file = io.BytesIO()
        Image.fromarray(texture(chance, 3)).save(file, ("PNG", "JPEG")[at % 2])
        yield f"clean_{at:03d}{('.png', '.jpg')[at % 2]}", file.getvalue()


def write(folder: Path, number: int, num_clean: int, seed: int) -> tuple[list[str], dict[str, bytes]]:
    """Write both kinds and a table that names them; returns the planted values and the clean files."""
    folder.mkdir(parents=True)
    values: list[str] = []
    rows = ["patientid,filename,patient name,study date,finding"]
    for one in planted(number, seed):
        (folder / one.name).write_bytes(one.data)
        values += one.values
        rows.append(f"{one.values[0]},{one.name},{one.values[4]},2020-03-1{len(rows) % 9},normal chest")
    tidy = dict(clean(num_clean, seed + 1))
    for name, data in tidy.items():
        (folder / name).write_bytes(data)
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return values, tidy
