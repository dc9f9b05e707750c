"""What a checkpoint's processor writes where its chat template puts an image: markers, and one placeholder for all."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Rendered = tuple[str, list[tuple[int, int]]]
"""A conversation as the template writes it, and the character spans of it that are supervised."""

INTERNVL_MARKERS = ("<img>", "</img>")


@dataclass(frozen=True)
class ImagePlaceholder:
    """``written`` is the template's word for an image, ``sequence`` what stands there before it is tokenised."""

    written: str
    sequence: str

    @classmethod
    def of(cls, config: Mapping[str, Any], image_token: int, word: Callable[[int], str]) -> ImagePlaceholder | None:
        """The place of a family whose template leaves something to the processor, ``None`` where it writes all itself.

        ``config`` is that of the checkpoint, ``word`` the text of a token.
        """
        if config["model_type"] == "internvl":
            start, end = INTERNVL_MARKERS
            return cls(word(image_token), f"{start}{word(image_token)}{end}")
        if config["model_type"] == "gemma3":
            start, end = (word(int(config[name])) for name in ("boi_token_index", "eoi_token_index"))
            return cls(start, f"\n\n{start}{word(image_token)}{end}\n\n")
        if config["model_type"] in ("gemma4", "gemma4_unified"):
            start, end = (word(int(config[name])) for name in ("boi_token_id", "eoi_token_id"))
            return cls(word(image_token), f"{start}{word(image_token)}{end}")
        return None

    def fill(self, rendered: Sequence[Rendered]) -> list[Rendered]:
        """The conversations with ``sequence`` in every place; no place of an image is supervised."""
        return [self._filled(*one) for one in rendered]

    def _filled(self, text: str, spans: list[tuple[int, int]]) -> Rendered:
        pieces = text.split(self.written)
        length = len(self.written)
        places, position = [], 0
        for piece in pieces[:-1]:
            places.append(position + len(piece))
            position = places[-1] + length
        around = []
        for start, stop in spans:
            for place in places:
                if start <= place < stop:
                    around.append((start, place))
                    start = place + length
            around.append((start, stop))
        grown = len(self.sequence) - length

        def moved(position: int) -> int:
            return position + grown * bisect_left(places, position)

        return self.sequence.join(pieces), [(moved(start), moved(stop)) for start, stop in around]
