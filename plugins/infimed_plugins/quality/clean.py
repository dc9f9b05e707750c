"""Clean samples to damage: the demo's pictures with captions of ours, and its questions with options."""

from __future__ import annotations

from collections.abc import Sequence

from infimed_core import DataError, Sample, Turn
from infimed_plugins.quality.installed import reader
from infimed_plugins.quality.modalities import modality_of

CAPTIONS = (
    ("CR", "Frontal chest radiograph shows a large right pleural effusion with adjacent atelectasis."),
    ("CR", "No acute cardiopulmonary abnormality."),
    ("CR", "The heart is enlarged and there is mild interstitial oedema in both lower lobes."),
    ("CR", "Lateral view of the ankle demonstrates a spiral fracture of the distal fibula with soft tissue swelling."),
    ("CR", "An endotracheal tube ends about four centimetres above the carina; no pneumothorax is seen."),
    ("CT", "Axial contrast-enhanced CT of the abdomen shows a hypodense lesion in segment VII of the liver."),
    ("CT", "Non-contrast head CT reveals a crescent-shaped hyperdense collection along the left convexity."),
    ("CT", "There is bibasal consolidation with air bronchograms, consistent with pneumonia."),
    ("CT", "Coronal reformat demonstrates dilated small bowel loops with a transition point in the pelvis."),
    ("CT", "Multiple pulmonary nodules are present in both lungs, the largest measuring 14 mm."),
    ("MR", "Sagittal T2-weighted MRI of the lumbar spine shows a disc protrusion at L4-L5 that narrows the canal."),
    ("MR", "FLAIR image with several periventricular hyperintense plaques typical of demyelination."),
    ("MR", "A ring-enhancing mass with surrounding vasogenic oedema occupies the right frontal lobe."),
    ("MR", "The medial meniscus has a complex tear in its posterior horn."),
    ("MR", "Normal appearance of the hippocampi without atrophy or signal change."),
    ("US", "Transverse ultrasound of the gallbladder shows several echogenic stones with acoustic shadowing."),
    ("US", "The right kidney is hydronephrotic and the proximal ureter is dilated."),
    ("US", "Hypoechoic nodule with irregular margins in the left thyroid lobe."),
    ("fundus", "Fundus photograph of the left eye with scattered microaneurysms and hard exudates near the macula."),
    ("fundus", "The optic disc has a large cup and a thin inferior rim, suggesting glaucoma."),
    ("histology", "Photomicrograph of the colonic mucosa with crypt abscesses and a dense lymphocytic infiltrate."),
    ("histology", "Nests of atypical squamous cells with keratin pearls invade the underlying stroma."),
    (
        "NM",
        "Bone scan with increased tracer uptake in several ribs and the left iliac crest, suspicious for metastases.",
    ),
    ("NM", "Homogeneous uptake in both thyroid lobes without a hot or cold nodule."),
)
"""Captions written for this check by us, not used for calibration. Any text rule may still suit our way of writing."""

_SIDES = ("left", "right")


def answered(sample: Sample) -> Sample:
    """A held-out question with its reference as the answer; one with options keeps them, to be checked."""
    if sample.turns[-1].role == "assistant" or not sample.references:
        return sample
    answer = Turn(role="assistant", content=(sample.references[-1],))
    return sample.model_copy(update={"turns": (*sample.turns, answer)})


def captioned(pictures: Sequence[Sample]) -> list[Sample]:
    """Our captions, each on a picture of its modality where there is one; a side that it names alone is a tag too."""
    out = []
    for number, (modality, caption) in enumerate(CAPTIONS):
        own = [sample for sample in pictures if modality_of(sample) == modality]
        media = own[number % len(own)].media[:1] if own else ()
        sides = [side for side in _SIDES if side in caption]
        tags = {"modality": modality, "task_type": "captioning"} | ({"laterality": sides[0]} if len(sides) == 1 else {})
        request = Turn(role="user", content=(*range(len(media)), "Describe the image."))
        turns = (request, Turn(role="assistant", content=(caption,)))
        out.append(Sample(id=f"caption-{number}", turns=turns, media=media, tags=tags))
    return out


def clean_samples(per_modality: int = 12, side: int = 128) -> list[Sample]:
    """Held-out pictures of the demo with short answers, questions with options, and our captions.

    Raises:
        DataError: the demo data are not installed.
    """
    pictures: dict[str, Sample] = {}
    choices: list[Sample] = []
    for split in ("validation", "test"):
        source = reader("demo-anatomy", split=split, side=side, include_text=False)
        for shard in source.shards():
            for row in source.read(shard):
                if not isinstance(row, Sample):
                    continue
                if row.options and len(choices) < 2 * per_modality and len(row.references[-1]) > 1:
                    choices.append(answered(row))
                pictures.setdefault(row.tags["image"], row)
    if not pictures:
        raise DataError("missing_reader", "no clean pictures: pip install 'infimed[demo]', or name a --reader")
    chosen: list[Sample] = []
    for modality in sorted({modality_of(sample) for sample in pictures.values()}):
        own = [sample for sample in pictures.values() if modality_of(sample) == modality]
        spread = own[:: max(1, len(own) // per_modality)][:per_modality]
        chosen += [answered(sample).model_copy(update={"options": (), "references": ()}) for sample in spread]
    out = [*chosen, *choices, *captioned(list(pictures.values()))]
    return [sample.model_copy(update={"id": f"{number}-{sample.id}"}) for number, sample in enumerate(out)]
