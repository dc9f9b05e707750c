"""Predicted against real lengths: every family's encoder, random images in every format, transformers' processors."""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "plugins"))
from common import Results, table
from small_checkpoints import write_small_checkpoint

from infimed_core import Encoder, Media, MediaLoader, Sample, Turn
from infimed_core.plan.index import build_index
from infimed_core.plan.lengths import Measure
from infimed_core.store.dataset import Dataset, write_samples
from infimed_plugins.dicom.modality import Dicom
from infimed_plugins.image.modality import Image
from infimed_plugins.nifti.modality import Nifti
from infimed_plugins.vlm.encoding import ChatEncoder
from infimed_plugins.vlm.families import FAMILIES

MODALITIES = {"image": Image(), "dicom": Dicom(), "nifti": Nifti()}
FORMATS = {"png": 0.3, "jpeg": 0.25, "jpeg turned by EXIF": 0.25, "dicom": 0.1, "nifti": 0.1}


class Counted(MediaLoader):
    """Counts what is decoded."""

    decoded = 0

    def load(self, media: Media, at_most: tuple[int, int] | None = None) -> Any:
        self.decoded += 1
        return super().load(media, at_most)


def random_medium(random: np.random.Generator) -> tuple[str, Media]:
    """An image of random size (one in sixteen up to 1,000 pixels a side) in a random format, by content."""
    from PIL import Image as Pillow

    format_ = str(random.choice(list(FORMATS), p=list(FORMATS.values())))
    height, width = (int(side) for side in random.integers(1, 1000 if random.random() < 0.06 else 240, 2))
    if format_ == "dicom":
        return format_, Media(kind="dicom", data=_dicom(random, height, width))
    if format_ == "nifti":
        return format_, Media(
            kind="nifti", data=_nifti(random, height, width), options={"axis": int(random.integers(3))}
        )
    picture = Pillow.fromarray(random.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8))
    target, exif = io.BytesIO(), Pillow.Exif()
    if format_ == "jpeg turned by EXIF":
        exif[0x0112] = int(random.integers(2, 9))
    picture.resize((width, height)).save(target, format="PNG" if format_ == "png" else "JPEG", exif=exif)
    return format_, Media(data=target.getvalue())


def _dicom(random: np.random.Generator, height: int, width: int) -> bytes:
    from pydicom.dataset import Dataset as Header
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    made = Header()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = CTImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid()
    made.Rows, made.Columns, made.SamplesPerPixel = height, width, 1
    made.PhotometricInterpretation, made.PixelRepresentation = "MONOCHROME2", 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 16, 15
    made.PixelData = random.integers(0, 2000, (height, width), dtype=np.uint16).tobytes()
    target = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_as(target, enforce_file_format=True)
    return target.getvalue()


def _nifti(random: np.random.Generator, height: int, width: int) -> bytes:
    import nibabel

    shape = (min(height, 200), min(width, 200), int(random.integers(1, 6)))
    volume = nibabel.Nifti1Image(random.integers(0, 1000, shape, dtype=np.int16), np.eye(4))
    return bytes(volume.to_bytes())


def made_samples(count: int, seed: int = 0) -> tuple[list[Sample], list[str]]:
    """One sample for each random image; and the formats."""
    random = np.random.default_rng(seed)
    found = [random_medium(random) for _ in range(count)]
    turns = (Turn(role="user", content=(0, "Which plane?")), Turn(role="assistant", content=("axial",)))
    samples = [Sample(id=f"s{number}", turns=turns, media=(medium,)) for number, (_, medium) in enumerate(found)]
    return samples, [format_ for format_, _ in found]


def real_tokens(model_type: str, encoder: ChatEncoder, image: Any, cap: int | None) -> int | None:
    """Visual tokens that transformers' own image processor makes; ``None`` where it refuses or breaks the cap."""
    from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    pixels: Any = encoder.pixels
    options = {"input_data_format": "channels_last", "return_tensors": "np"}
    if FAMILIES[model_type].tiled:
        if cap is not None:
            return None  # the processor has no cap in tokens
        processor = GotOcr2ImageProcessorPil(size={"height": pixels.side, "width": pixels.side}, crop_to_patches=True)
        return int(processor([image], **options)["num_patches"][0]) * pixels.pool[0] * pixels.pool[1]
    if FAMILIES[model_type].images in ("pixtral", "gemma4"):
        return _real_lines(FAMILIES[model_type].images, pixels, image, cap)
    if not FAMILIES[model_type].native_resolution:
        return pixels.pool[0] * pixels.pool[1] if cap is None else None
    if max(image.shape[:2]) > 200 * min(image.shape[:2]):
        return None
    if FAMILIES[model_type].images == "glm5":
        return _real_tiles(pixels, image, cap)
    most = pixels.max_pixels if cap is None else min(pixels.max_pixels, cap * pixels.tile**2)
    glm = FAMILIES[model_type].images == "glm"
    frames = pixels.temporal if glm else 1
    size = {"longest_edge": frames * most, "shortest_edge": frames * min(pixels.min_pixels, most)}
    kind: Any = Glm4vImageProcessorPil if glm else Qwen2VLImageProcessorPil
    processor = kind(patch_size=pixels.patch, merge_size=pixels.merge)
    grid = processor([image], size=size, **options)["image_grid_thw"][0]
    tokens = int(grid.prod()) // pixels.merge**2
    return tokens if tokens * pixels.tile**2 <= most else None


def _real_tiles(pixels: Any, image: Any, cap: int | None) -> int:
    """The same for GLM-5-V, whose limits are tokens."""
    from transformers.models.glm5_next.image_processing_pil_glm5_next import Glm5NextImageProcessorPil

    least, most = (limit // pixels.tile**2 for limit in (pixels.min_pixels, pixels.max_pixels))
    most = most if cap is None else min(most, cap)
    sides = {"patch_size": pixels.patch, "merge_size": pixels.merge, "temporal_patch_size": pixels.temporal}
    processor = Glm5NextImageProcessorPil(**sides, min_image_tokens=min(least, most), max_image_tokens=most)
    grid = processor([image], input_data_format="channels_last", return_tensors="np")["image_grid_thw"][0]
    return int(grid.prod()) // pixels.merge**2


def _real_lines(images: str, pixels: Any, image: Any, cap: int | None) -> int | None:
    """The same for Pixtral, which has no cap in tokens, and for Gemma 4."""
    from transformers.models.gemma4.image_processing_pil_gemma4 import get_aspect_ratio_preserving_size
    from transformers.models.pixtral.image_processing_pil_pixtral import get_resize_output_image_size

    tile = pixels.tile
    try:
        if images == "gemma4":
            most = min(pixels.largest, cap or pixels.largest) * pixels.merge**2
            height, width = get_aspect_ratio_preserving_size(*image.shape[:2], pixels.patch, most, pixels.merge)
            return height * width // tile**2
        height, width = get_resize_output_image_size(image, pixels.largest, tile, "channels_last")
    except ValueError:
        return None  # it refuses
    return height // tile * (width // tile + 1) if cap is None and height and width else None


def mispredicted(
    encoder: Encoder, dataset: Dataset, media: MediaLoader, caps: list[int | None], check: Any = None
) -> tuple[int, int]:
    """Samples whose encoded length is not the planned one, and visual tokens that are not those of ``check``."""
    index = build_index(dataset, encoder, media)
    measure, wrong, other = Measure(index, encoder), 0, 0
    assert index.usable.all()
    for row, cap in enumerate(caps):
        (item,) = dataset[row].media
        height, width = (int(side) for side in media.probe(item))
        image = media.load(item, encoder.decode_size(height, width, cap))
        encoded = encoder.encode(dataset[row], [image], cap, [(height, width)])
        lengths = measure.of(np.array([row]), cap)
        wrong += (len(encoded), encoded.num_supervised) != (int(lengths.tokens[0]), int(index.supervised[row]))
        if check is not None:
            real = check(media.load(item), cap)
            other += real is not None and real != sum(encoded.visual_tokens)
    return wrong, other


def every_family(results: Results, directory: Path, count: int, families: list[str] | None = None) -> None:
    """The table of families, and two targets: lengths as planned, tokens as transformers' processors make them."""
    samples, formats = made_samples(count)
    write_samples(directory / "random.jsonl", samples)
    dataset, random = Dataset(directory / "random.jsonl"), np.random.default_rng(1)
    caps = [None if random.random() < 0.3 else int(random.integers(1, 120)) for _ in samples]
    rows, wrong_in_all, other_in_all = [], 0, 0
    for model_type in families or [name for name, family in FAMILIES.items() if family.takes_images]:
        texts = ["Which plane? axial"] * 5
        encoder = ChatEncoder(write_small_checkpoint(model_type, directory / model_type, texts, weights=False))
        media = Counted(MODALITIES)

        def check(image: Any, cap: int | None, name: str = model_type, encoder: ChatEncoder = encoder) -> int | None:
            return real_tokens(name, encoder, image, cap)

        wrong, other = mispredicted(encoder, dataset, media, caps, check)
        wrong_in_all, other_in_all = wrong_in_all + wrong, other_in_all + other
        rows.append([model_type, count, wrong, other])
    table(["family", "images", "not as planned", "not as transformers' processor"], rows)
    results.details["random images"] = {
        "formats": {name: formats.count(name) for name in FORMATS}, "families": [row[0] for row in rows],
    }  # fmt: skip
    results.target(f"lengths mispredicted, {len(rows)} families, {count:,} random images each", wrong_in_all, "== 0")
    results.target("visual tokens unlike those of transformers' processors", other_in_all, "== 0")
