"""The words of the demo's questions and captions: several phrasings of everything."""

from __future__ import annotations

QUESTIONS: dict[str, tuple[str, ...]] = {
    "plane": (
        "Which imaging plane is this?", "In what plane was this image cut?", "Name the plane of this slice.",
        "What is the orientation of this slice?", "Which anatomical plane does the picture show?",
    ),
    "position": (
        "Where in the brain was this slice taken?", "What part of the brain does this slice come from?",
        "Name the position of this slice in the brain.", "Where does this slice lie?",
        "From which region along the axis was this slice cut?",
    ),
    "image_type": (
        "What kind of brain image is this?", "Is this an anatomical image or a tissue map, and which?",
        "Name the type of this image.", "Which image type is shown?",
        "What does the brightness of this image stand for?",
    ),
    "tissue": (
        "Which tissue takes up more of the middle of this brain slice?",
        "What tissue dominates the middle of the picture?", "Name the dominant tissue in the centre of this slice.",
        "Which is there more of in the middle of this slice, grey or white matter?",
        "In the central part of this slice, which brain tissue is more abundant?",
    ),
    "white_matter": (
        "Is this level of the brain rich or poor in white matter?", "Grade the share of white matter in this slice.",
        "How large is the white matter share here: poor or rich?", "Rate this slice's white matter content.",
    ),
    "modality": (
        "Which imaging modality is this?", "How was this picture made?", "Name the modality of this image.",
        "What imaging technique produced this image?", "With which technique was this image acquired?",
    ),
    "body_part": (
        "Which body part is shown?", "What part of the body is this?", "Name the body region in this image.",
        "Which region of the body does the picture come from?", "What anatomy was imaged here?",
    ),
    "coverage": (
        "How much of the picture is filled?", "How large is the object in the frame: small, medium or large?",
        "Rate the filled area of the picture.", "What is the size of the bright area in this picture?",
    ),
    "brightest_side": (
        "Which side of the picture is the brightest?", "On which side is there more light?",
        "Name the brighter side of the picture.", "Towards which side does the brightness lean?",
    ),
    "colour": (
        "Is the picture in colour or grey?", "Does this picture show colour or only grey?",
        "Colour or grey: which is this picture?", "Name the colour type of the picture.",
    ),
}  # fmt: skip

CLAIMS: dict[str, tuple[str, ...]] = {
    "plane": ("Is this slice {}?", "Does the picture show the {} plane?"),
    "position": ("Does this slice lie in this place: {}?", "Was this slice taken here: {}?"),
    "image_type": ("Is this a {}?", "Does the picture show a {}?"),
    "tissue": (
        "Is there more {} than other tissue in the middle of this slice?",
        "Does {} dominate the middle of the picture?",
    ),
    "white_matter": ("Is the white matter share of this slice {}?", "Would you grade the white matter here as {}?"),
    "modality": ("Was this picture made by {}?", "Is the modality {}?"),
    "body_part": ("Is the body part shown the {}?", "Does the picture show the {}?"),
    "coverage": ("Is the filled area {}?", "Would you call the object in the frame {}?"),
    "brightest_side": ("Is the {} the brightest side?", "Is there most light at the {}?"),
    "colour": ("Is the picture in {}?", "Is {} the colour type of the picture?"),
}

OPTION_TEXT = (
    "{question} Choose from: {options}.",
    "{question} Options: {options}. Answer with one of them.",
    "{question}\nPick one: {options}.",
)
OPTION_LETTER = (
    "{question}\n{lettered}\nAnswer with the letter.",
    "{question} Reply with a letter only.\n{lettered}",
)
YES_NO = ("{claim} Answer yes or no.", "Yes or no: {claim}")

CAPTION_PARTS: dict[str, tuple[str, ...]] = {
    "plane": ("plane {}", "cut {}"),
    "position": ("position {}", "taken at the {}"),
    "image_type": ("image type {}", "sequence {}"),
    "tissue": ("middle mostly {}", "middle tissue {}"),
    "white_matter": ("white matter {}", "white matter share {}"),
    "modality": ("modality {}", "made by {}"),
    "body_part": ("body part {}", "showing the {}"),
    "coverage": ("filled area {}", "object size {}"),
    "brightest_side": ("brightest side {}", "most light at the {}"),
    "colour": ("colour type {}", "in {}"),
}
CAPTION_REQUESTS = ("Describe the image.", "What does this picture show?", "Write a caption.", "Caption this image.")
