"""The encoder of a chat checkpoint: samples to tokens, labels, positions and pixels, without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import DataError, Encoded, Encoder, Sample, TextLengths, Turn
from infimed_plugins.checkpoint_files import check_files, opening
from infimed_plugins.vlm.chat import Chat, Tokens
from infimed_plugins.vlm.chat_settings import ChatSettings
from infimed_plugins.vlm.expansion import expand, mark_lines, rope_positions
from infimed_plugins.vlm.families import FAMILIES, Family, family_named
from infimed_plugins.vlm.finding import PREPROCESSING_FILES
from infimed_plugins.vlm.glm import Glm5Pixels, GlmPixels
from infimed_plugins.vlm.image_placeholders import ImagePlaceholder, Rendered
from infimed_plugins.vlm.internvl import InternPixels
from infimed_plugins.vlm.patch_rows import Gemma4Pixels, PixtralPixels
from infimed_plugins.vlm.pixels import QwenPixels
from infimed_plugins.vlm.regions import with_regions
from infimed_plugins.vlm.siglip import SiglipPixels

Pixels = QwenPixels | SiglipPixels | InternPixels | PixtralPixels | Gemma4Pixels
_OF_SETTINGS: dict[str, type[QwenPixels]] = {"qwen": QwenPixels, "glm": GlmPixels, "glm5": Glm5Pixels}
_OF_CONFIG: dict[str, type[SiglipPixels | InternPixels | PixtralPixels | Gemma4Pixels]] = {
    "siglip": SiglipPixels, "internvl": InternPixels, "pixtral": PixtralPixels, "gemma4": Gemma4Pixels,
}  # fmt: skip


class ChatEncoder(Encoder):
    """Encoder of a checkpoint directory: the families of ``families.py``, with images or of text alone."""

    def __init__(
        self,
        checkpoint: Path | str,
        trust_remote_code: bool = False,
        settings: ChatSettings | None = None,
        base: Path | None = None,
    ) -> None:
        """``base`` is the checkpoint beneath an adapter, whose files stand in for those that the adapter lacks."""
        self.checkpoint = Path(checkpoint)
        self.base = base or self.checkpoint
        self.trust_remote_code = trust_remote_code
        self.settings = settings or ChatSettings()

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("checkpoint", "base", "trust_remote_code", "settings")}

    def _file(self, name: str) -> Path:
        """A file of the checkpoint, or of the base where an adapter has none of that name."""
        own = self.checkpoint / name
        return own if own.is_file() else self.base / name

    @cached_property
    def config(self) -> dict[str, Any]:
        """The checkpoint's ``config.json``."""
        with opening(self.base / "config.json"):
            return dict(json.loads((self.base / "config.json").read_text(encoding="utf-8")))

    @cached_property
    def tokenizer(self) -> Any:
        """The checkpoint's fast tokenizer; its chat template may stand in the processor's own file."""
        from transformers import AutoTokenizer

        home = self._file("tokenizer.json").parent
        check_files(home)
        with opening(f"{home}: its tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(home, trust_remote_code=self.trust_remote_code)
        template, written = self._file("chat_template.json"), self._file("chat_template.jinja")
        if not tokenizer.chat_template and written.is_file():
            with opening(written):
                tokenizer.chat_template = written.read_text(encoding="utf-8")
        if not tokenizer.chat_template and template.is_file():
            with opening(template):
                tokenizer.chat_template = json.loads(template.read_text(encoding="utf-8"))["chat_template"]
        if self.settings.template is not None:
            tokenizer.chat_template = self.settings.template
        return tokenizer

    @cached_property
    def chat(self) -> Chat:
        """The checkpoint's chat template."""
        return Chat(self.tokenizer)

    @cached_property
    def family(self) -> Family | None:
        """The family by ``config.json``, ``None`` for an unknown one."""
        with opening(self.base / "config.json"):
            return family_named(self.config["model_type"], self.config.get("vision_config", {}).get("model_type"))

    @cached_property
    def pixels(self) -> Pixels | None:
        """How images become patches; ``None`` for a model of text alone.

        Raises:
            DataError: the model takes images, but is of no family whose images InfiMed prepares.
        """
        if "vision_config" not in self.config:
            return None
        if self.family is None or not self.family.takes_images:
            known = ", ".join(name for name, other in FAMILIES.items() if other.takes_images)
            text = f"images for '{self.config['model_type']}' are not supported (known: {known}; llava with SigLIP)"
            raise DataError("unknown_family", f"{self.checkpoint}: {text}")
        settings, images = self._image_processor(), self.family.images
        with opening(f"{self.checkpoint}: the settings of its image processor"):
            if images in _OF_SETTINGS:
                return _OF_SETTINGS[images].from_settings(settings)
            return _OF_CONFIG[images].from_settings(settings, self.config)

    def _image_processor(self) -> dict[str, Any]:
        """The image processor's settings: of its own file, or as part of the processor's.

        Raises:
            DataError: the checkpoint holds neither, or Gemma3's crops (pan and scan) are on.
        """
        own, whole = self._file("preprocessor_config.json"), self._file("processor_config.json")
        file = own if own.is_file() or not whole.is_file() else whole
        with opening(file):
            settings = dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
            settings = dict(settings.get("image_processor", {})) if file == whole else settings
        if not settings:
            raise DataError("no_checkpoint", f"{own}: missing; copy it from the checkpoint this one was made from")
        if settings.get("do_pan_and_scan"):
            raise DataError("pan_and_scan", f"{file}: do_pan_and_scan is not supported; set it to false")
        return dict(settings)

    @cached_property
    def rope_rows(self) -> int:
        """Rows of positions that the family takes."""
        return self.family.rope_rows if self.family else 1

    @cached_property
    def image_token(self) -> int:
        """Id of the placeholder token, -1 for a model of text alone."""
        names = ("image_token_id", "image_token_index")
        return next(int(self.config[name]) for name in names if name in self.config) if self.pixels else -1

    @cached_property
    def place(self) -> ImagePlaceholder | None:
        """What is written around an image's placeholder; ``None`` where the chat template writes it."""
        return (
            ImagePlaceholder.of(self.config, self.image_token, self.tokenizer.convert_ids_to_tokens)
            if self.pixels
            else None
        )

    @cached_property
    def line_ends(self) -> tuple[int, int] | None:
        """Pixtral's tokens behind each line of an image and behind its last one; ``None`` for other families."""
        if self.family is None or self.family.images != "pixtral":
            return None
        file = self._file("processor_config.json")
        stated = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        words = (stated.get("image_break_token", "[IMG_BREAK]"), stated.get("image_end_token", "[IMG_END]"))
        found = [self.tokenizer.get_vocab().get(word) for word in words]
        if None in found:
            missing = words[found.index(None)]
            raise DataError(
                "no_checkpoint", f"{self.checkpoint}: the tokenizer lacks '{missing}', which ends lines of an image"
            )
        return found[0], found[1]

    def _tokenize(self, rendered: Sequence[Rendered], training: bool) -> list[Tokens]:
        """Token ids with one placeholder for each image, and all markers around it."""
        made = self.chat.tokenize_rendered(self.place.fill(rendered) if self.place else rendered)
        if training and self.settings.prompt_loss:
            return [Tokens(tokens.ids, tokens.ids != self.image_token) for tokens in made]
        return made

    @cached_property
    def asked_digest(self) -> str:
        """Digest of tokenizer, template and image processor: of all that decides what the model is asked."""
        digest = hashlib.sha256(b"chat-encoder-1")
        for name in PREPROCESSING_FILES:
            file = self._file(name)
            if file.is_file():
                digest.update(name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
        if self.settings.template is not None:
            digest.update(b"template\0" + hashlib.sha256(self.settings.template.encode()).digest())
        return digest.hexdigest()

    @cached_property
    def identity(self) -> str:
        """Digest of tokenizer, template and image processor, and of what carries loss."""
        return self.settings.training_digest(self.asked_digest)

    def doubts(self) -> tuple[str, ...]:
        """What of the chat template keeps a trained model from ending its answers."""
        return (text,) if (text := self.chat.told_ending(self._end_ids())) else ()

    def _end_ids(self) -> set[int]:
        """Tokens at which generation stops: of the tokenizer, the configuration and ``generation_config.json``."""
        file = self._file("generation_config.json")
        bodies = [self.config, *([json.loads(file.read_text(encoding="utf-8"))] if file.is_file() else [])]
        found: set[int | None] = {self.tokenizer.eos_token_id}
        for body in bodies:
            ends = body.get("eos_token_id")
            found |= set(ends) if isinstance(ends, list) else {ends}
        return {int(end) for end in found if end is not None}

    @property
    def max_tokens(self) -> int | None:
        """Longest sample the language model has positions for."""
        length = self.config.get("text_config", self.config).get("max_position_embeddings")
        return int(length) if length else None

    def text(self, ids: NDArray[np.int64]) -> str:
        """The tokens as the tokenizer writes them, control tokens included."""
        return str(self.tokenizer.decode(ids.tolist(), skip_special_tokens=False))

    def text_lengths(self, samples: Sequence[Sample]) -> TextLengths:
        """Token counts without placeholders, by batched tokenisation, and what ``encode`` would refuse."""
        tokens = np.zeros(len(samples), dtype=np.int64)
        supervised = np.zeros(len(samples), dtype=np.int64)
        rendered: dict[int, Rendered] = {}
        refused: dict[int, DataError] = {}
        for index, sample in enumerate(samples):
            try:
                rendered[index] = self.chat.render(self._written(self.settings.apply(sample.turns)), tools=sample.tools)
            except DataError as error:
                refused[index] = error
        for index, result in zip(rendered, self._tokenize(list(rendered.values()), training=True), strict=True):
            tokens[index] = int((result.ids != self.image_token).sum())
            supervised[index] = int(result.supervised[1:].sum())
        return TextLengths(tokens, supervised, refused)

    def _written(self, turns: Sequence[Turn]) -> Sequence[Turn]:
        """The turns with their boxes in the family's form."""
        return with_regions(turns, self.family.boxes if self.family else "")

    def visual_sizes(
        self, heights: NDArray[np.int64], widths: NDArray[np.int64], max_visual_tokens: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Placeholders and patches by arithmetic, int64 [n] each."""
        if self.pixels is None:
            return np.zeros(len(heights), dtype=np.int64), np.zeros(len(heights), dtype=np.int64)
        return self.pixels.sizes(heights, widths, max_visual_tokens)

    def decode_size(self, height: int, width: int, max_visual_tokens: int | None) -> tuple[int, int] | None:
        """The size that ``encode`` resizes to: what is decoded no smaller has all that is left to see."""
        return self.pixels.target(height, width, max_visual_tokens) if self.pixels else None

    def encode(
        self,
        sample: Sample,
        images: Sequence[NDArray[np.uint8]],
        max_visual_tokens: int | None,
        shapes: Sequence[tuple[int, int]] | None = None,
    ) -> Encoded:
        """Encode a training sample: assistant turns and their end-of-turn tokens carry loss where ``supervised``.

        ``shapes`` (height, width) are those of the headers, where images were decoded to another size: they, and
        not the arrays, decide how many visual tokens an image has.
        """
        turns = self.settings.apply(sample.turns)
        if not any(turn.role == "assistant" and turn.supervised for turn in turns):
            raise DataError("no_answer", f"sample '{sample.id}' has no supervised answer: there is nothing to learn")
        return self._encode(sample.id, turns, images, max_visual_tokens, shapes, False, sample.tools)

    def prompt(
        self,
        sample_id: str,
        turns: Sequence[Turn],
        images: Sequence[NDArray[np.uint8]],
        max_visual_tokens: int | None,
        shapes: Sequence[tuple[int, int]] | None = None,
    ) -> Encoded:
        """Encode a question: no labels, ends with the header of the answer; ``shapes`` as in ``encode``."""
        return self._encode(sample_id, turns, images, max_visual_tokens, shapes, True)

    def encode_prompt(
        self,
        sample: Sample,
        images: Sequence[NDArray[np.uint8]],
        max_visual_tokens: int | None,
        shapes: Sequence[tuple[int, int]] | None = None,
    ) -> Encoded:
        """As ``encode``, of a training sample without its answer: up to where the answer begins, without labels."""
        turns = self.settings.apply(sample.turns)
        return self._encode(sample.id, turns, images, max_visual_tokens, shapes, True, sample.tools)

    def _encode(
        self,
        sample_id: str,
        turns: Sequence[Turn],
        images: Sequence[NDArray[np.uint8]],
        max_visual_tokens: int | None,
        shapes: Sequence[tuple[int, int]] | None,
        generate: bool,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Encoded:
        try:
            tokens = self._tokenize([self.chat.render(self._written(turns), generate, tools)], not generate)[0]
        except DataError as error:
            raise DataError(error.code, f"sample '{sample_id}': {error}") from None
        vision: dict[str, NDArray[Any]] = {}
        grids = np.zeros((0, 2), dtype=np.int64)
        num_places = int((tokens.ids == self.image_token).sum()) if self.pixels else 0
        if num_places != len(images):
            text = f"sample '{sample_id}' has {len(images)} image(s) but {num_places} place(s) for them"
            raise DataError("image_count", text if self.pixels else f"{text}: the model takes text alone")
        if images and self.pixels:
            vision, grids = self.pixels.arrays(images, max_visual_tokens, shapes)
        counts = grids.prod(axis=1)
        ids, labels, types = expand(tokens, self.image_token, counts, generate)
        if self.line_ends is not None:
            mark_lines(ids, types, grids, *self.line_ends)
        count = np.arange(len(ids), dtype=np.int64)[None]
        positions = rope_positions(types, grids) if self.rope_rows == 4 else count
        return Encoded(sample_id, ids, labels, positions, types, tuple(counts.tolist()), vision)
