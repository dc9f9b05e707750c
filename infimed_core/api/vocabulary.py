"""One vocabulary of modalities and task types, and what other people's labels are in it."""

from __future__ import annotations

import re

UNLABELLED = "unlabelled"
"""Where a source says nothing, or something that is in no vocabulary; shown, never hidden."""

MODALITIES: dict[str, tuple[str, ...]] = {
    "X-ray": (
        "xray", "xr", "x ray", "cr", "dx", "rg", "radiograph", "radiography", "chest x ray", "cxr", "dr", "x rays",
        "xrays", "chest radiograph", "chest radiography",
        "plain film", "digital radiography", "computed radiography",
        "mammography", "mammogram", "mg", "fluoroscopy", "rf", "xa", "angiography", "dsa",
    ),
    "CT": ("computed tomography", "cta", "ct scan", "computed tomography ct", "cone beam ct", "cbct"),
    "MR": ("mri", "mra", "fmri", "dwi", "flair", "t1", "t2", "magnetic resonance imaging", "magnetic resonance"),
    "ultrasound": ("us", "ivus", "sonography", "echocardiography", "echo", "ultra sound", "doppler"),
    "nuclear medicine": ("nm", "pet", "pt", "spect", "pet ct", "scintigraphy", "bone scan"),
    "fundus": ("fundus photography", "fundus image", "color fundus", "op", "retinal photography", "ophthalmoscopy",
               "fundus photograph", "infrared reflectance imaging", "fluorescein angiography"),
    "OCT": ("optical coherence tomography", "opt", "octa"),
    "endoscopy": ("es", "colonoscopy", "gastroscopy", "laparoscopy", "bronchoscopy", "cystoscopy", "colposcopy",
                  "arthroscopy", "surgical video"),
    "pathology": ("sm", "gm", "histology", "histopathology", "cytology", "microscopy", "microscopy images",
                  "microscopic", "pathological", "slide microscopy", "whole slide image", "immunohistochemistry"),
    "dermatology": ("dermoscopy", "dermatoscopy", "skin photograph", "dermatological photograph", "dms"),
    "photograph": ("xc", "photo", "photography", "digital photography", "clinical photograph", "medical photograph"),
    "signal": ("ecg", "ekg", "eeg", "emg", "spirometry", "waveform"),
    "text": ("none", "text only"),
}  # fmt: skip
"""The modalities, each with the labels (DICOM's codes, other data sets' words) that are read as it."""

TASK_TYPES: dict[str, tuple[str, ...]] = {
    "recognition": ("modality", "modality recognition", "plane", "view", "image type", "imaging technique"),
    "anatomy": ("organ", "anatomy identification", "body part", "organ system", "anatomical structure"),
    "localisation": ("position", "location", "localization", "pos", "grounding", "region"),
    "perception": ("color", "colour", "shape", "size", "attrib", "attribute", "other biological attributes"),
    "quantification": ("quantity", "count", "counting", "measurement", "number"),
    "finding": ("abnormality", "abn", "presence", "pres", "lesion grading", "lesion", "severity", "findings"),
    "diagnosis": ("disease diagnosis", "disease", "differential diagnosis"),
    "treatment": ("management", "therapy", "surgery", "treatment plan", "intervention", "follow up"),
    "knowledge": ("kg", "basic medicine", "basic science", "exam", "knowledge graph", "examination"),
    "reporting": ("report", "report generation", "captioning", "caption"),
    "conversation": ("chat", "dialogue", "open conversation"),
}  # fmt: skip
"""The task types: what a question is about, whatever its form, each with the labels that are read as it."""


def modality_of(label: str | None) -> str:
    """The modality that a label names ("MRI", "CT(Computed Tomography)", "DX"), else ``unlabelled``."""
    return _find(label, MODALITIES)


def task_type_of(label: str | None) -> str:
    """The task type that a label names ("Disease Diagnosis", "Quantity"), else ``unlabelled``."""
    return _find(label, TASK_TYPES)


_PERSON = re.compile(
    r"(?:patient|subject|person|participant|study|exam)(?:id|uid|no|num|number|key|name)?|pid|mrn|studyinstanceuid|accession\w*"
)


def is_person_tag(tag: str) -> bool:
    """Whether a tag's name says that equal values are of one patient, subject or study, in any spelling."""
    return _PERSON.fullmatch(re.sub(r"[\W_]", "", tag.lower())) is not None


def _find(label: str | None, vocabulary: dict[str, tuple[str, ...]]) -> str:
    words = _words(label or "")
    before = _words((label or "").split("(")[0])  # "MR (Magnetic Resonance Imaging)" is MR
    for wanted in (words, before):
        for name, aliases in vocabulary.items():
            if wanted and wanted in (_words(name), *aliases):
                return name
    return UNLABELLED


def _words(label: str) -> str:
    """Lower-case words of letters and digits, single spaces between."""
    return " ".join(re.findall(r"[a-z0-9]+", label.lower()))


__all__ = ["MODALITIES", "TASK_TYPES", "UNLABELLED", "is_person_tag", "modality_of", "task_type_of"]
