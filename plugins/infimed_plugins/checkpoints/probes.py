"""The questions that a trainer and its server are both asked: each shows another way in which they may differ."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from infimed_core import Generation, Media, Request, Turn

LONG = "Describe what the report says of the heart, the lungs, the bones and the soft tissue. " * 3


@dataclass(frozen=True)
class Probe:
    """A question, and how many images and turns it has."""

    name: str
    request: Request

    @property
    def num_images(self) -> int:
        """Images of all its turns."""
        return len(self.request.media)


def picture(width: int, height: int, seed: int) -> Media:
    """A picture with much detail, the same everywhere: waves and noise, as a PNG file in memory."""
    import numpy as np
    from PIL import Image

    rows, columns = np.mgrid[0:height, 0:width]
    waves = 127 + 90 * np.sin(rows[..., None] / (7 + seed)) * np.cos(columns[..., None] / np.array([5.0, 11.0, 17.0]))
    noise = np.random.default_rng(seed).integers(-30, 30, (height, width, 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(waves + noise, 0, 255).astype(np.uint8)).save(buffer, format="PNG")
    return Media(kind="image", data=buffer.getvalue())


def make_probes(
    max_new_tokens: int, with_images: bool, question: str | None = None, media: Sequence[Media] = ()
) -> list[Probe]:
    """Probes of text alone and, ``with_images``, of images; and the person's own question, if there is one."""
    user = "What is the heart?"
    talk = (("user", user), ("assistant", "An organ."), ("user", "Where is it?"))
    made: list[tuple[str, tuple[tuple[str, tuple[int | str, ...]], ...], tuple[Media, ...]]] = [
        ("a word", (("user", ("axial",)),), ()),
        ("a question", (("user", (user,)),), ()),
        ("a long text", (("user", (LONG,)),), ()),
        ("a system prompt", (("system", ("Answer in one word.",)), ("user", (user,))), ()),
        ("three turns", tuple((role, (text,)) for role, text in talk), ()),
    ]
    if with_images:
        small, large, wide = picture(96, 96, 1), picture(1400, 1100, 2), picture(900, 220, 3)
        made += [
            ("a small image", (("user", (0, "Which organ is this?")),), (small,)),
            ("a large image", (("user", (0, "Which organ is this?")),), (large,)),
            ("a wide image", (("user", (0, "Which organ is this?")),), (wide,)),
            ("two images", (("user", (0, 1, "Which of them is brighter?")),), (small, wide)),
        ]
    if question is not None:
        made.append(("your question", (("user", (*range(len(media)), question)),), tuple(media)))
    generation = Generation(max_new_tokens=max_new_tokens)
    return [
        Probe(
            name,
            Request(
                sample_id=name,
                turns=tuple(Turn(role=role, content=content) for role, content in turns),
                media=shown,
                generation=generation,
            ),
        )
        for name, turns, shown in made
    ]
