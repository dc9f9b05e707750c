"""The demo's pictures: every image with its split, its study and the facts computed about it."""

from __future__ import annotations

import functools
import hashlib
import io
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError, Media
from infimed_plugins.demo import blocks, facts, sources

MNI_WINDOW = 192
"""Side of the window cut around the brain, in mm: the same for every slice, so that sizes can be compared."""
MNI_CENTRE = (98, 118, 78)
IMAGE_TYPES = {"t1": "T1-weighted image", "gm": "grey matter map", "wm": "white matter map"}


@dataclass(frozen=True)
class Picture:
    """One distinct image. ``image`` names the picture it was cut from (views of one frame share it)."""

    id: str
    image: str
    study: str
    source: str
    package: str
    split: blocks.Split
    modality: str
    pixels: NDArray[np.uint8] = field(repr=False, compare=False)
    facts: dict[str, facts.Fact] = field(compare=False)

    @functools.cached_property
    def media(self) -> Media:
        """The picture as PNG."""
        return encode(self.pixels)


def encode(pixels: NDArray[np.uint8]) -> Media:
    """An inline PNG of uint8 [height, width] or [height, width, 3]."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=6)
    data = buffer.getvalue()
    return Media(kind="image", data=data, sha256=hashlib.sha256(data).hexdigest())


def fit(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Reduce to a square of ``side`` pixels, keeping the shape: the rest is black."""
    from PIL import Image

    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = np.asarray(
        Image.fromarray(pixels).resize(size, Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BICUBIC)
    )
    canvas = np.zeros((side, side, *pixels.shape[2:]), dtype=np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = resized
    return canvas


def mni_slice(name: str, plane: str, index: int) -> NDArray[np.uint8]:
    """One slice as it is looked at (front or top up): uint8 [192, 192] around the centre of the brain."""
    axis = blocks.PLANES.index(plane)
    # Plain indexing is a view; numpy.take copies all of a Fortran-ordered volume first.
    array = sources.volume(name)[tuple(index if i == axis else slice(None) for i in range(3))]
    first, second = (centre for i, centre in enumerate(MNI_CENTRE) if i != axis)
    half = MNI_WINDOW // 2
    padded = np.pad(array, half)
    window = padded[first : first + MNI_WINDOW, second : second + MNI_WINDOW]
    return np.ascontiguousarray(window.T[::-1])


def _mni(side: int) -> list[Picture]:
    pictures = []
    for position in blocks.places():
        masks = mni_slice("gm", position.plane, position.index), mni_slice("wm", position.plane, position.index)
        for name, image_type in IMAGE_TYPES.items():
            raw = mni_slice(name, position.plane, position.index)
            pixels = fit(raw, side)
            known = {
                "plane": facts.plane(position.plane),
                "image_type": facts.Fact(image_type, tuple(IMAGE_TYPES.values())),
                "position": facts.position(position.plane, position.index),
                "tissue": facts.tissue(*masks),
                "white_matter": facts.white_matter(*masks),
                "body_part": facts.body_part("BRAIN"),
                **facts.appearance(pixels),
            }
            if name == "t1":
                known["modality"] = facts.modality("MR")
            pictures.append(
                Picture(
                    id=f"mni-{name}-{position.plane}-{position.index}",
                    image=f"mni-{name}-{position.plane}-{position.index}",
                    study=f"mni-{position.block}",
                    source=f"mni152-{name}",
                    package="nilearn",
                    split=position.split,
                    modality="MR",
                    pixels=pixels,
                    facts={kind: fact for kind, fact in known.items() if fact},
                )
            )
    return pictures


def _grey(array: NDArray[Any], inverted: bool) -> NDArray[np.uint8]:
    """Window to the 1st to 99.5th percentile of a subset of pixels, in float32: large films stay cheap."""
    low, high = (float(value) for value in np.percentile(array[::4, ::4] if array.size > 2**18 else array, [1, 99.5]))
    scaled = np.clip((array.astype(np.float32) - low) * (255.0 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)
    shown: NDArray[np.uint8] = 255 - scaled if inverted else scaled
    return shown


def _dicom_frame(dataset: Any, index: int) -> NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    frames = int(dataset.get("NumberOfFrames") or 1)
    pixels = pixel_array(dataset, index=index if frames > 1 else 0)
    meaning = str(dataset.PhotometricInterpretation)
    if meaning.startswith("PALETTE"):
        pixels = apply_color_lut(pixels, dataset)
        pixels = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    if pixels.ndim == 2:
        step = max(1, min(pixels.shape) // 512)
        pixels = _grey(pixels[::step, ::step], meaning == "MONOCHROME1")
    return np.ascontiguousarray(pixels, dtype=np.uint8)


def _views(pixels: NDArray[np.uint8], split: blocks.Split) -> list[NDArray[np.uint8]]:
    """The whole frame and, of its middle, closer views: four corners in training, the centre elsewhere."""
    height, width = pixels.shape[:2]
    inner_height, inner_width = round(height * 0.8), round(width * 0.8)
    bottom, right = height - inner_height, width - inner_width
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)] if split == "train" else [(bottom // 2, right // 2)]
    return [pixels] + [pixels[top : top + inner_height, left : left + inner_width] for top, left in corners]


def _dicom(side: int) -> list[Picture]:
    import warnings

    import pydicom

    headers = []
    with warnings.catch_warnings():
        # These are test files of a DICOM library: several bend the standard on purpose, and it says so each time.
        warnings.simplefilter("ignore")
        for file in sources.DICOM_FILES:
            headers.append((file, pydicom.dcmread(sources.package_file(file.package, file.path))))
        studies = {str(header.StudyInstanceUID): str(header.Modality) for _, header in headers}
        splits = blocks.study_splits(studies)
        pictures = []
        for file, header in headers:
            study, name = str(header.StudyInstanceUID), file.path.rsplit("/", 1)[-1].removesuffix(".dcm")
            for frame in file.frames:
                try:
                    pixels = _dicom_frame(header, frame)
                except (RuntimeError, ValueError, NotImplementedError) as error:
                    message = f"{file.path} cannot be decoded ({error}); run: pip install 'infimed[demo]'"
                    raise DataError("undecodable", message.replace("\n", " ")) from None
                for view, part in enumerate(_views(pixels, splits[study])):
                    shown = fit(part, side)
                    known = {**facts.from_header(header), **facts.appearance(shown)}
                    pictures.append(
                        Picture(
                            id=f"dicom-{name}-{frame}-{view}",
                            image=f"dicom-{name}-{frame}",
                            study=f"dicom-{hashlib.sha256(study.encode()).hexdigest()[:12]}",
                            source=f"dicom-{str(header.Modality).lower()}",
                            package=file.package,
                            split=splits[study],
                            modality=str(header.Modality),
                            pixels=shown,
                            facts=known,
                        )
                    )
    return pictures


def _tiles(side: int, file: str, modality: str, part: str, window: int, stride: int, gap: int) -> list[Picture]:
    from PIL import Image

    with Image.open(sources.package_file("skimage", f"data/{file}")) as opened:
        whole = np.asarray(opened.convert("RGB"))
    name = file.split(".")[0]
    pictures = []
    for tile in blocks.windows(whole.shape[1], whole.shape[0], window, stride, gap):
        cut = whole[tile.top : tile.top + window, tile.left : tile.left + window]
        if float((cut.max(axis=2) > 40).mean()) < 0.6:
            continue  # a corner outside the round field of view shows nothing
        pixels = fit(cut, side)
        known = {"modality": facts.modality(modality), "body_part": facts.body_part(part), **facts.appearance(pixels)}
        identity = f"{name}-{tile.left}-{tile.top}"
        pictures.append(
            Picture(
                id=identity,
                image=identity,
                study=f"{name}-{tile.split}",
                source=name,
                package="skimage",
                split=tile.split,
                modality=modality,
                pixels=pixels,
                facts={k: fact for k, fact in known.items() if fact},
            )
        )
    return pictures


@functools.lru_cache(maxsize=2)
def pictures(side: int) -> tuple[Picture, ...]:
    """Every picture of every split, as squares of ``side`` pixels, in a fixed order. Made once per process.

    Raises:
        DataError: a package is missing; names the command that installs it.
    """
    return (
        *_mni(side),
        *_dicom(side),
        *_tiles(side, "retina.jpg", "fundus", "EYE", window=280, stride=120, gap=40),
        *_tiles(side, "ihc.png", "histology", "COLON", window=128, stride=48, gap=16),
    )


def stable_hash(*parts: object) -> int:
    """A number that depends on ``parts`` alone, in every process."""
    return zlib.crc32("|".join(map(str, parts)).encode())
