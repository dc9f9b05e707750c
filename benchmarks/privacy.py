"""Privacy and data-set filters: recall of made-up identity in text, header and pixels; near pictures; overlap."""

from __future__ import annotations

import argparse
import io
import random
import shutil
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from common import Results, main, table
from privacy_texts import BARE, NAMED, STRUCTURED, cases, clean_texts

from infimed_core import Media, Sample
from infimed_plugins.executors.local import Serial
from infimed_plugins.filters.contamination import Contamination
from infimed_plugins.filters.copies import altered_pairs
from infimed_plugins.filters.duplicates import Duplicates
from infimed_plugins.filters.hamming import close_pairs
from infimed_plugins.filters.keypoints import marks
from infimed_plugins.filters.pictures import perceptual_hash
from infimed_plugins.quality.identity import find
from infimed_plugins.quality.installed import media_loader, reader
from infimed_plugins.quality.measurements import reduced
from infimed_plugins.quality.privacy.command import deidentify
from infimed_plugins.quality.privacy.header import find_in_header
from infimed_plugins.quality.privacy.pixels import PixelReader, burned_in, can_read_pixels
from infimed_plugins.quality.privacy.profile import FREE_TEXT, IDENTITY_VR, actions

SEED = 7


def covered(text: str, piece: str) -> bool:
    start = text.index(piece)
    found = find(text)
    places = [at for at in range(start, start + len(piece)) if text[at].isalnum()]
    return all(any(one.start <= at < one.stop for one in found) for at in places)


def text(results: Results) -> None:
    rows = []
    for name, kind in (("structured", STRUCTURED), ("named", NAMED), ("bare names", BARE)):
        made = list(cases(kind, 3000, SEED))
        hits = [covered(sentence, piece) for sentence, used in made for piece in used]
        rows.append([name, len(made), len(hits), sum(hits) / len(hits)])
    clean = clean_texts()
    began = time.perf_counter()
    flagged = [sentence for sentence in clean if find(sentence)]
    speed = len(clean) / (time.perf_counter() - began)
    table(["identity in text", "texts", "pieces", "recall"], rows)
    results.details["text"] = {row[0]: {"texts": row[1], "pieces": row[2], "recall": row[3]} for row in rows}
    results.details["clean_text"] = {"texts": len(clean), "flagged": len(flagged), "texts_per_second": round(speed)}
    results.target("recall of structured identity in text", rows[0][3], ">= 0.99")
    results.target("recall of names behind a label, title or role", rows[1][3], ">= 0.99")
    results.target("share of clean medical texts that are flagged", len(flagged) / len(clean), "<= 0.05")


def header(results: Results) -> None:
    from pydicom.datadict import dictionary_VR, keyword_for_tag
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    def found(tag: int, representation: str, value: str, where: str) -> bool:
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3"
        made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
        place: Any = made
        if where == "nested":
            place = Dataset()
            made.RequestAttributesSequence = [place]
        if where == "private":
            made.private_block(0x0099, "ACME", create=True).add_new(1, "LO", value)
        else:
            place.add_new(tag, representation, value)
        file = io.BytesIO()
        made.save_as(file, enforce_file_format=True)
        return bool(find_in_header(Media(kind="dicom", data=file.getvalue())))

    hits: dict[str, list[bool]] = defaultdict(list)
    chance = random.Random(SEED)
    names = [piece for _, used in cases(NAMED[:1], 200, SEED) for piece in used]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tag in actions():
            keyword = keyword_for_tag(tag)
            if not keyword or tag >> 16 <= 2:
                continue
            representation = dictionary_VR(tag)
            if representation not in IDENTITY_VR - {"UR"} | {"DA", "DT"} or keyword == "ContextGroupVersion":
                continue
            first, last = chance.choice(names).split()[:2]
            number = f"{chance.randint(10**7, 10**8 - 1)}"
            if representation in ("DA", "DT"):
                value = f"19{chance.randint(20, 99)}0{chance.randint(1, 9)}1{chance.randint(0, 9)}"
            elif representation == "PN":
                value = f"{last}^{first}"
            elif FREE_TEXT.search(keyword):
                value = f"MRN {number}" if representation == "SH" else f"Patient {first} {last}, MRN {number}"
            else:
                value = f"Q{number[:6]}"
            for where in ("top", "nested"):
                hits[where].append(found(tag, representation, value, where))
        for sentence, _ in cases(STRUCTURED[:20], 200, SEED):
            hits["private"].append(found(0, "LO", sentence[:64], "private"))
    rows = [[where, len(own), sum(own) / len(own)] for where, own in hits.items()]
    table(["identity in the DICOM header", "files", "recall"], rows)
    results.details["header"] = {row[0]: {"files": row[1], "recall": row[2]} for row in rows}
    everything = [hit for own in hits.values() for hit in own]
    results.target("recall of identity in the DICOM header", sum(everything) / len(everything), ">= 0.99")


def pictures() -> dict[str, list[tuple[str, str, Media]]]:
    """By modality: (picture, study, medium) of the demo, each picture once."""
    seen: dict[str, tuple[str, str, Media]] = {}
    for split in ("train", "test"):
        source = reader("demo-anatomy", split=split, include_text=False)
        for shard in source.shards():
            for row in source.read(shard):
                if isinstance(row, Sample) and row.media:
                    seen.setdefault(row.tags["image"], (row.tags["modality"], row.tags["study"], row.media[0]))
    by_modality: dict[str, list[tuple[str, str, Media]]] = defaultdict(list)
    for name, (modality, study, media) in seen.items():
        by_modality[modality].append((name, study, media))
    return by_modality


def burned_in_line(pixels: np.ndarray, line: str, size: int, chance: random.Random) -> np.ndarray:
    """The picture, 384 pixels wide, with a line at its top or bottom, light on dark or dark on light."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(pixels)
    image = image.resize((384, max(64, round(384 * image.height / image.width))))
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(image)
    while size > 6 and draw.textlength(line, font) > 374:
        size -= 1
        font = ImageFont.load_default(size)
    top = chance.choice((4, image.height - size - 6))
    under = np.asarray(image)[top : top + size + 4, 5 : 5 + int(draw.textlength(line, font))].mean()
    draw.text((5, top), line, fill=(255,) * 3 if under < 128 else (0,) * 3, font=font)
    return np.asarray(image)


def pixels(results: Results, number: int) -> None:
    if not can_read_pixels():
        results.details["pixels"] = "not measured: pip install 'infimed[privacy]'"
        results.target("recall of identity burned into pixels", None, ">= 0.95")
        return
    from faker import Faker

    fake, chance, loader, ocr = Faker("en_US"), random.Random(SEED), media_loader(), PixelReader()
    fake.seed_instance(SEED)
    by_modality = pictures()
    hits: dict[str, list[bool]] = defaultdict(list)
    clean: dict[str, list[bool]] = defaultdict(list)
    missed = []
    seconds = 0.0
    for at in range(number):
        modality = sorted(by_modality)[at % len(by_modality)]
        _, _, media = chance.choice(by_modality[modality])
        line = chance.choice(
            (
                f"{fake.last_name()}^{fake.first_name()}".upper(),
                f"MRN {fake.numerify('%#######')}",
                f"{fake.last_name()}, {fake.first_name()}  {fake.date_of_birth():%m/%d/%Y}".upper(),
                f"DOB {fake.date_of_birth().isoformat()}",
                f"Acc: {fake.numerify('%########')}",
                f"Name: {fake.name()}",
            )
        )
        size = chance.choice((10, 12, 16, 24))
        shown = burned_in_line(loader.load(media), line, size, chance)
        began = time.perf_counter()
        hit = bool(burned_in(ocr.read(shown)))
        seconds += time.perf_counter() - began
        hits[modality].append(hit)
        if not hit:
            missed.append({"modality": modality, "line": line, "pixels": size})
        if at % 2 == 0:
            clean[modality].append(bool(burned_in(ocr.read(loader.load(media)))))
    rows = [
        [name, len(own), sum(own) / len(own), sum(clean[name]) / max(1, len(clean[name]))]
        for name, own in sorted(hits.items())
    ]
    table(["identity in pixels", "pictures", "recall", "clean flagged"], rows)
    results.details["pixels"] = {
        "by_modality": {row[0]: {"pictures": row[1], "recall": row[2], "clean_flagged": row[3]} for row in rows},
        "missed": missed,
        "seconds_per_picture": round(seconds / number, 3),
    }
    everything = [hit for own in hits.values() for hit in own]
    results.target("recall of identity burned into pixels", sum(everything) / len(everything), ">= 0.95")
    flags = [flag for own in clean.values() for flag in own]
    results.target("share of clean pictures flagged for pixels", sum(flags) / len(flags), "<= 0.05")


def copies(results: Results) -> None:
    """pydicom's own test files, which hold names, dates, private blocks and every kind of oddity."""
    import pydicom

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = Path(folder) / "in"
        source.mkdir()
        for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").rglob("*.dcm")):
            if path.stat().st_size < 1_000_000:
                shutil.copy(path, source / f"{len(list(source.iterdir()))}.dcm")
        before = Counter()
        for path in source.iterdir():
            try:
                before[bool(find_in_header(Media(kind="dicom", uri=str(path))))] += 1
            except Exception:
                before["unreadable"] += 1
        began = time.perf_counter()
        body = deidentify(source, Path(folder) / "out", key=b"benchmark-key-00", read_pixels=False)
        seconds = time.perf_counter() - began
    added = body["num_written"] + sum(body["withheld"].values()) + sum(body["left_out"].values())
    results.details["copies"] = {
        "files": body["num_in"],
        "files_with_identity_before": before[True],
        "written": body["num_written"],
        "withheld": body["withheld"],
        "left_out": body["left_out"],
        "files_per_second": round(body["num_in"] / seconds),
    }
    results.target("files of a source less written, withheld and left out", body["num_in"] - added, "== 0")
    results.target("places with identity in the clean copies", len(body["found_in_the_copy"]), "== 0")


def files(results: Results) -> None:
    """200 files with identity planted in every place that a file has, names and a table included, and 60 clean ones."""
    import gzip
    import zlib

    from privacy_files import write

    loader = media_loader()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source, target = Path(folder) / "in", Path(folder) / "out"
        values, tidy = write(source, 200, 60, SEED)
        body = deidentify(source, target, key=b"benchmark-key-00", read_pixels=False)
        pieces = []
        for path in sorted(path for path in target.rglob("*") if path.is_file()):
            data = path.read_bytes()
            pieces += [path.name.encode(), gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data]
            if data.startswith(b"\x89PNG") and (at := data.find(b"IDAT")) > 0:
                pieces.append(zlib.decompressobj().decompress(data[at + 4 :]))
        everything = b"\n".join(pieces)
        left = sorted({value for value in values if value.encode() in everything})
        copies_of = {
            hash(loader.load(Media(uri=str(path))).tobytes())
            for path in target.rglob("*")
            if path.suffix in (".png", ".jpg")
        }
        changed = [
            name for name, data in tidy.items() if hash(loader.load(Media(data=data)).tobytes()) not in copies_of
        ]
    results.details["files"] = {
        "in": body["num_in"], "written": body["num_written"], "withheld": body["withheld"],
        "planted_values": len(values), "left": left, "clean_files": len(tidy), "clean_changed": changed,
        "found_by_its_own_check": body["found_in_the_copy"],
    }  # fmt: skip
    results.target("planted values found in any copy", len(left), "== 0")
    results.target("clean files whose pixels changed", len(changed), "== 0")
    results.target(
        "files neither written nor told as withheld", 261 - body["num_written"] - sum(body["withheld"].values()), "== 0"
    )


def altered(results: Results, films: Path | None) -> None:
    """Changed copies among unlike pictures: of the demo's, and of films of one view where a directory is given."""
    import cv2

    def turned(picture: np.ndarray, degrees: float) -> np.ndarray:
        height, width = picture.shape[:2]
        return cv2.warpAffine(picture, cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0), (width, height))

    def cropped(picture: np.ndarray, share: float) -> np.ndarray:
        rows, columns = int(picture.shape[0] * share), int(picture.shape[1] * share)
        return picture[rows:, columns:]

    def jpeg(picture: np.ndarray) -> np.ndarray:
        return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 1)

    changes = {
        "copy": lambda p: p,
        "JPEG 40": jpeg,
        "half the size": lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "crop of 5%": lambda p: cropped(p, 0.05),
        "crop of 10%": lambda p: cropped(p, 0.1),
        "2 degrees": lambda p: turned(p, 2),
        "5 degrees": lambda p: turned(p, -5),
        "mirror": lambda p: p[:, ::-1],
        "inversion": lambda p: 255 - p,
        "border": lambda p: np.pad(p, ((p.shape[0] // 10,) * 2, (p.shape[1] // 10,) * 2, (0, 0))),
        "contrast": lambda p: np.clip((p.astype(np.float32) - 128) * 1.3 + 128, 0, 255).astype(np.uint8),
        "gamma": lambda p: ((p / 255.0) ** 0.6 * 255).astype(np.uint8),
    }
    sets: dict[str, list[tuple[str, np.ndarray]]] = {}
    if films is not None:
        paths = sorted(path for path in films.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
        sets["films"] = [(path.name, reduced(cv2.imread(str(path)), 768)) for path in paths]
    loader = media_loader()
    sets["demo"] = [
        (study, loader.load(media)) for own in pictures().values() for _, study, media in own[:: max(1, len(own) // 40)]
    ]
    for name, shown in sets.items():
        prints = [marks(picture) for _, picture in shown]
        unlike = [
            (shown[one][0], shown[two][0], shared)
            for one, two, shared in altered_pairs(prints)
            if shown[one][0] != shown[two][0]
        ]
        rows = []
        step = max(1, len(shown) // 40)
        asked = [place for place in range(0, len(shown), step) if prints[place].codes.shape[1] >= 24]
        for change_name, change in changes.items():
            hits = sum(
                bool(list(altered_pairs([prints[place], marks(np.ascontiguousarray(change(shown[place][1])))])))
                for place in asked
            )
            rows.append([change_name, hits / len(asked)])
            if name == "films":
                results.target(f"altered films found: {change_name}", hits / len(asked), ">= 0.95")
        table([f"altered copies of {len(asked)} of {name}", "found"], rows)
        results.details[f"altered {name}"] = {
            "pictures": len(shown),
            "found": dict(rows),
            "unlike_taken_for_one": unlike,
        }
        if name == "demo":
            results.target("pairs of different studies of the demo taken for copies", len(unlike), "== 0")


def near_pictures(results: Results) -> None:
    import cv2

    loader = media_loader()
    by_modality = pictures()
    shown = [(study, loader.load(media)) for own in by_modality.values() for _, study, media in own]
    hashes = np.stack([np.frombuffer(perceptual_hash(pixels) or bytes(32), np.uint8) for _, pixels in shown])

    def jpeg(quality: int):
        def change(picture: np.ndarray) -> np.ndarray:
            return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)

        return change

    changes = {
        "JPEG 90": jpeg(90),
        "JPEG 50": jpeg(50),
        "half the size": lambda picture: cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "1.5 times the size": lambda picture: cv2.resize(picture, None, fx=1.5, fy=1.5),
        "15% brighter": lambda picture: np.clip(picture * 1.15, 0, 255).astype(np.uint8),
        "mirrored": lambda picture: np.ascontiguousarray(picture[:, ::-1]),
    }
    limit = Duplicates().near_distance
    rows = []
    for name, change in changes.items():
        again = np.stack([np.frombuffer(perceptual_hash(change(pixels)) or bytes(32), np.uint8) for _, pixels in shown])
        rows.append([name, float((np.unpackbits(hashes ^ again, axis=1).sum(axis=1) <= limit).mean())])
    table(["near pictures", f"within {limit} bits"], rows)
    left, right, _ = close_pairs(hashes, None, limit)
    other = sum(shown[i][0] != shown[j][0] for i, j in zip(left, right, strict=True))
    chance = np.random.default_rng(0)
    random_hashes = chance.integers(0, 256, (200_000, 32), dtype=np.uint8)
    copies_of = random_hashes[:2000].copy()
    copies_of[:, 0] ^= 7
    began = time.perf_counter()
    found = len(close_pairs(np.concatenate([random_hashes, copies_of]), None, limit)[0])
    seconds = time.perf_counter() - began
    results.details["near_pictures"] = {
        "within_limit": dict(rows),
        "pictures": len(shown),
        "pairs_of_one_study": int(len(left) - other),
        "pairs_of_different_studies": int(other),
        "search_of_202000_hashes_seconds": round(seconds, 2),
    }
    results.target("pictures recognised after JPEG 90", rows[0][1], ">= 0.99")
    results.target("pictures recognised at half the size", rows[2][1], ">= 0.99")
    results.target("near pairs of different studies in the demo", other, "== 0")
    results.target("planted pairs found among 202,000 hashes", found, "== 2000")


def overlap(results: Results) -> None:
    """The demo's own training data against its benchmarks, with a share of the questions planted in it."""
    rows = [
        row for row in reader("demo-anatomy", split="train", include_text=False).read("") if isinstance(row, Sample)
    ]
    asked = [
        row for row in reader("demo-anatomy", split="test", include_text=False).read("") if isinstance(row, Sample)
    ]
    chance = random.Random(SEED)
    planted = [row.model_copy(update={"id": f"planted-{n}"}) for n, row in enumerate(chance.sample(asked, 50))]
    rows = rows[:5000] + planted
    began = time.perf_counter()
    filtered = Contamination().check(rows, {"demo-vqa": asked}, media_loader(), Serial())
    seconds = time.perf_counter() - began
    hits = sum(identity.startswith("planted-") for identity in filtered.rejected)
    results.details["overlap"] = {
        "rows": len(rows), "questions": len(asked), "media": filtered.details["num_media"],
        "seconds": round(seconds, 2),
    }  # fmt: skip
    results.target("planted benchmark pictures found in training data", hits / len(planted), ">= 1")
    results.target("training rows of the demo taken for contaminated", len(filtered.rejected) - hits, "== 0")


PARTS = {
    "text": text, "header": header, "copies": copies, "files": files, "near_pictures": near_pictures,
    "overlap": overlap, "altered": altered,
    "pixels": pixels,
}  # fmt: skip


def measure(results: Results, arguments: argparse.Namespace) -> None:
    for name in arguments.only or PARTS:
        if name == "pixels":
            pixels(results, arguments.pictures)
        elif name == "altered":
            altered(results, arguments.films)
        else:
            PARTS[name](results)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pictures", type=int, default=105, help="pictures that get a line of identity")
    parser.add_argument("--films", type=Path, help="a directory of films of one view, each of another patient")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), help="only these parts")


if __name__ == "__main__":
    main("privacy", measure, arguments)
