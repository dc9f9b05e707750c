"""Where the demo's pictures and codes lie inside installed packages, found without importing them."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError

LICENCES = {
    "nilearn": "ICBM 152 terms (nilearn BSD-3-Clause)",
    "pydicom": "MIT",
    "data_store": "MIT",
    "skimage": "BSD-3-Clause",
    "simple_icd_10_cm": "MIT (codes: US public domain)",
}
DISTRIBUTIONS = {
    "nilearn": "nilearn",
    "pydicom": "pydicom",
    "data_store": "pydicom-data",
    "skimage": "scikit-image",
    "simple_icd_10_cm": "simple-icd-10-cm",
}


@dataclass(frozen=True)
class DicomFile:
    """One DICOM file of a package; ``frames`` picks some of a multi-frame file."""

    package: str
    path: str
    frames: tuple[int, ...] = (0,)


DICOM_FILES = (
    DicomFile("data_store", "data/693_UNCR.dcm"),
    DicomFile("pydicom", "data/test_files/CT_small.dcm"),
    DicomFile("pydicom", "data/test_files/J2K_pixelrep_mismatch.dcm"),
    DicomFile("data_store", "data/bad_sequence.dcm"),
    DicomFile("data_store", "data/eCT_Supplemental.dcm", (0, 1)),
    DicomFile("data_store", "data/explicit_VR-UN.dcm"),
    DicomFile("pydicom", "data/test_files/MR_small.dcm"),
    DicomFile("data_store", "data/MR-SIEMENS-DICOM-WithOverlays.dcm"),
    DicomFile("data_store", "data/MR2_UNCR.dcm"),
    DicomFile("data_store", "data/emri_small.dcm", (0, 3, 6, 9)),
    DicomFile("data_store", "data/US1_UNCR.dcm"),
    DicomFile("data_store", "data/JPGLosslessP14SV1_1s_1f_8b.dcm"),
    DicomFile("pydicom", "data/test_files/examples_palette.dcm"),
    DicomFile("pydicom", "data/test_files/examples_ybr_color.dcm", (0, 10, 20)),
    DicomFile("data_store", "data/color-pl.dcm"),
    DicomFile("data_store", "data/gdcm-US-ALOKA-16.dcm"),
    DicomFile("data_store", "data/JPEG2000_UNC.dcm"),
    DicomFile("data_store", "data/RG1_UNCR.dcm"),
    DicomFile("data_store", "data/RG3_UNCR.dcm"),
)
"""One encoding of every distinct picture: the packages hold most of them several times."""


def package_file(package: str, path: str) -> Path:
    """The file ``path`` of an installed package.

    Raises:
        DataError: the package or the file is not installed; names the command that installs it.
    """
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if (Path(folder) / path).is_file():
            return Path(folder) / path
    what = f"{DISTRIBUTIONS[package]} is not installed" if spec is None else f"{DISTRIBUTIONS[package]} holds no {path}"
    raise DataError("missing_package", f"the demo data cannot be made: {what}; run: pip install 'infimed[demo]'")


def missing_packages(names: Sequence[str] = tuple(DISTRIBUTIONS)) -> dict[str, str]:
    """What a component that needs these packages has to say where one is missing, as ``Component.problems`` does."""
    missing = []
    for name in names:
        try:
            found = importlib.util.find_spec(name) is not None
        except (ImportError, ValueError):
            found = False
        missing += [] if found else [DISTRIBUTIONS[name]]
    if not missing:
        return {}
    return {"": f"the demo data need {', '.join(missing)}, not installed here; run: pip install 'infimed[demo]'"}


@functools.lru_cache(maxsize=1)
def versions() -> str:
    """Versions of the packages that carry the data, as text for a digest; ``absent`` where one is missing."""
    import importlib.metadata

    found = []
    for distribution in DISTRIBUTIONS.values():
        try:
            found.append(f"{distribution}={importlib.metadata.version(distribution)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{distribution}=absent")
    return ";".join(found)


@functools.lru_cache(maxsize=3)
def volume(name: str) -> NDArray[np.uint8]:
    """The MNI152 2009a symmetric average ``t1``, ``gm`` or ``wm``: uint8 [197, 233, 189], RAS, 1 mm.

    Grey and white matter are probabilities times 255.
    """
    import nibabel

    path = package_file("nilearn", f"datasets/data/mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz")
    array = np.asarray(nibabel.load(path).dataobj, dtype=np.uint8)  # type: ignore[attr-defined]
    array.setflags(write=False)
    return array
