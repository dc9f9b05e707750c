"""The closed list of reason codes that a quality score or a selection may carry."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """One code for each thing that can be wrong; the comment above a block names the dimension that it lowers."""

    # No verdict: the media could not be opened (status ``error``).
    IMAGE_MISSING = "image_missing"
    IMAGE_TRUNCATED = "image_truncated"
    IMAGE_CORRUPT = "image_corrupt"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_UNREADABLE = "image_unreadable"
    MEDIA_INDEX_INVALID = "media_index_invalid"
    NOTHING_TO_SCORE = "nothing_to_score"

    # Told, and lowers nothing: the tag `modality` is in no vocabulary, so that pictures are judged by all modalities.
    MODALITY_UNKNOWN = "modality_unknown"
    # Told, and the dimension is null: the rules for text know no word of this language.
    LANGUAGE_UNKNOWN = "language_unknown"

    # image_quality
    IMAGE_BLURRED = "image_blurred"
    IMAGE_NOISY = "image_noisy"
    IMAGE_BLOCKY = "image_blocky"
    IMAGE_RESAMPLED = "image_resampled"
    IMAGE_LOW_CONTRAST = "image_low_contrast"
    IMAGE_OVEREXPOSED = "image_overexposed"
    IMAGE_CLIPPED = "image_clipped"
    IMAGE_MARGIN = "image_margin"
    IMAGE_INVERTED = "image_inverted"
    IMAGE_TURNED = "image_turned"
    IMAGE_CONSTANT = "image_constant"
    IMAGE_TOO_SMALL = "image_too_small"

    # alignment
    MODALITY_MISMATCH = "modality_mismatch"
    ANATOMY_MISMATCH = "anatomy_mismatch"
    LATERALITY_MISMATCH = "laterality_mismatch"
    COLOUR_MISMATCH = "colour_mismatch"
    PANEL_MISSING = "panel_missing"
    IMAGE_UNUSED = "image_unused"

    # completeness
    TEXT_EMPTY = "text_empty"
    QUESTION_EMPTY = "question_empty"
    TEXT_TOO_SHORT = "text_too_short"
    TEXT_TOO_LONG = "text_too_long"
    TEXT_MOJIBAKE = "text_mojibake"
    TEXT_GARBLED = "text_garbled"
    TEXT_TRUNCATED = "text_truncated"
    TEXT_MARKUP = "text_markup"
    TEXT_REPEATED = "text_repeated"
    TEXT_WORDS_MISSING = "text_words_missing"
    TEXT_PLACEHOLDER = "text_placeholder"

    # medical_validity
    NOT_MEDICAL = "not_medical"
    ANSWER_NOT_IN_OPTIONS = "answer_not_in_options"
    ANSWER_KEY_INCONSISTENT = "answer_key_inconsistent"
    OPTIONS_REPEATED = "options_repeated"
    POLARITY_CONTRADICTION = "polarity_contradiction"
    NUMBER_IMPLAUSIBLE = "number_implausible"

    # compliance
    PHI_RECORD_NUMBER = "phi_record_number"
    PHI_SOCIAL_SECURITY = "phi_social_security"
    PHI_PHONE = "phi_phone"
    PHI_EMAIL = "phi_email"
    PHI_BIRTH_DATE = "phi_birth_date"
    PHI_ADDRESS = "phi_address"
    PHI_NATIONAL_ID = "phi_national_id"
    PHI_NETWORK = "phi_network"
    PHI_NAME = "phi_name"
    PHI_DATE = "phi_date"
    PHI_AGE = "phi_age"
    PHI_HEADER = "phi_header"
    PHI_LOCATION = "phi_location"
    PHI_PIXELS = "phi_pixels"
    PHI_BURNED_IN_ANNOTATION = "phi_burned_in_annotation"
    # compliance: nothing was found, but not everything could be looked at; the dimension is null.
    IDENTITY_UNCHECKED = "identity_unchecked"
    PIXELS_UNCHECKED = "pixels_unchecked"

    # A judge's verdict that is missing (value null). The defects that it may name are those of the profile's rubric.
    JUDGE_NO_ANSWER = "judge_no_answer"
    JUDGE_NOT_SENT = "judge_not_sent"
    JUDGE_MALFORMED = "judge_malformed"
    JUDGE_REFUSED = "judge_refused"
    JUDGE_TRUNCATED = "judge_truncated"

    # Gates of the profile: a dimension below its minimum.
    BELOW_MINIMUM_IMAGE_QUALITY = "below_minimum_image_quality"
    BELOW_MINIMUM_ALIGNMENT = "below_minimum_alignment"
    BELOW_MINIMUM_COMPLETENESS = "below_minimum_completeness"
    BELOW_MINIMUM_MEDICAL_VALIDITY = "below_minimum_medical_validity"
    BELOW_MINIMUM_COMPLIANCE = "below_minimum_compliance"

    # Selection (never in a score).
    SCORE_MISSING = "score_missing"
    BELOW_MINIMUM = "below_minimum"
    BELOW_SHARE = "below_share"
    OVER_QUOTA = "over_quota"
    OVER_BUDGET = "over_budget"
    ABOVE_SHARE = "above_share"
    NOT_DRAWN = "not_drawn"


UNCHECKED = frozenset({Reason.IDENTITY_UNCHECKED, Reason.PIXELS_UNCHECKED})
"""Say that identity could not be looked for, never that it was found."""

BELOW_MINIMUM = frozenset(reason.value for reason in Reason if reason.value.startswith("below_minimum_"))
SELECTION = frozenset(
    {
        Reason.SCORE_MISSING, Reason.BELOW_MINIMUM, Reason.BELOW_SHARE, Reason.OVER_QUOTA, Reason.OVER_BUDGET,
        Reason.ABOVE_SHARE, Reason.NOT_DRAWN,
    }
)  # fmt: skip

OF_FAULT = {
    "missing_file": Reason.IMAGE_MISSING,
    "truncated": Reason.IMAGE_TRUNCATED,
    "too_large": Reason.IMAGE_TOO_LARGE,
    "corrupt": Reason.IMAGE_CORRUPT,
    "not_an_image": Reason.IMAGE_CORRUPT,
    "not_dicom": Reason.IMAGE_CORRUPT,
    "not_finite": Reason.IMAGE_CORRUPT,
}
"""From a modality's ``DataError.code``; every other code is ``image_unreadable``."""
