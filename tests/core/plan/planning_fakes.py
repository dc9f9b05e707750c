"""A tiny encoder, a modality that counts what it is asked, and samples for the tests of planning and packing."""

from __future__ import annotations

import numpy as np

from infimed_core import (
    IGNORED_LABEL,
    DataError,
    Encoded,
    Encoder,
    Media,
    Modality,
    Sample,
    TextLengths,
    Turn,
)

calls = {"probe": 0, "load": 0}


class Pictures(Modality):
    """Media whose uri is ``HEIGHTxWIDTH`` or, broken in the header or the body, ``header`` or ``HEIGHTxWIDTH!``."""

    def probe(self, media):
        calls["probe"] += 1
        if media.uri == "header":
            raise DataError("corrupt", "no header")
        return tuple(int(part) for part in media.uri.rstrip("!").split("x"))

    def load(self, media, at_most=None):
        calls["load"] += 1
        if media.uri.endswith("!"):
            raise DataError("truncated", f"{media.uri}: ends early")
        height, width = (int(part) for part in media.uri.split("x"))
        return np.full((height, width, 3), height % 251, dtype=np.uint8)


class TinyEncoder(Encoder):
    """One token a character; an image is a token for every 16x16 tile, made smaller to the cap, four patches each."""

    identity = "tiny"
    max_tokens = None

    def text_lengths(self, samples):
        if any("untokenizable" in turn.text for sample in samples for turn in sample.turns):
            raise DataError("no_tokens", "cannot be read")
        tokens = [sum(len(turn.text) for turn in sample.turns) for sample in samples]
        supervised = [self._supervised(sample) for sample in samples]
        return TextLengths(np.array(tokens, dtype=np.int64), np.array(supervised, dtype=np.int64))

    @staticmethod
    def _supervised(sample):
        # The first token of a sample is nobody's target.
        first = sample.turns[0].role == "assistant" and not sample.turns[0].media_indices
        return sum(len(turn.text) for turn in sample.turns if turn.role == "assistant") - first

    def visual_sizes(self, heights, widths, max_visual_tokens):
        visual = np.maximum(1, heights // 16) * np.maximum(1, widths // 16)
        if max_visual_tokens is not None:
            visual = np.minimum(visual, max_visual_tokens)
        return visual, visual * 4

    def encode(self, sample, images, max_visual_tokens):
        ids, targets, types, visual, pixels = [], [], [], [], []
        rest = iter(images)
        for turn in sample.turns:
            for part in turn.content:
                if isinstance(part, str):
                    ids += [ord(letter) % 97 + 2 for letter in part]
                    targets += [turn.role == "assistant"] * len(part)
                    types += [0] * len(part)
                else:
                    image = next(rest)
                    size = np.array([image.shape[0]]), np.array([image.shape[1]])
                    count = int(self.visual_sizes(*size, max_visual_tokens)[0][0])
                    ids += [1] * count
                    targets += [False] * count
                    types += [1] * count
                    visual.append(count)
                    pixels.append(np.full((count * 4, 2), image[0, 0, 0], dtype=np.float32))
        labels = np.full(len(ids), IGNORED_LABEL, dtype=np.int64)
        wanted = np.flatnonzero(np.array(targets[1:]))
        labels[wanted] = np.array(ids)[wanted + 1]
        return Encoded(
            sample_id=sample.id,
            input_ids=np.array(ids, dtype=np.int64),
            labels=labels,
            positions=np.arange(len(ids))[None],
            token_types=np.array(types, dtype=np.int64),
            visual_tokens=tuple(visual),
            vision={"pixel_values": np.concatenate(pixels)} if pixels else {},
        )


def sample(identity, question="why", answer="so", images=(), **tags):
    media = tuple(Media(uri=uri) for uri in images)
    turns = (Turn(role="user", content=(*range(len(media)), question)), Turn(role="assistant", content=(answer,)))
    return Sample(id=identity, turns=turns, media=media, tags=tags)


def samples(count, seed=0):
    """Samples of many shapes: no image, one, two; short and long; tagged by source."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        images = [f"{random.integers(8, 120)}x{random.integers(8, 120)}" for _ in range(random.integers(0, 3))]
        question, answer = "q" * int(random.integers(1, 40)), "a" * int(random.integers(1, 30))
        made.append(sample(f"s{number}", question, answer, images, source="abc"[number % 3]))
    return made
