"""Images and texts as unit vectors of one space: CLIP and SigLIP through transformers, others through open_clip."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimed_core import InfimedError, digest_of_checkpoint
from infimed_plugins.checkpoint_files import check_files, check_size, check_weights, one_line

Vectors = NDArray[np.float32]
OPEN_CLIP = "open_clip:"
"""What a model's name begins with where open_clip opens it: ``open_clip:hf-hub:microsoft/BiomedCLIP-...``,
``open_clip:local-dir:PATH``, or ``open_clip:NAME@WEIGHTS`` for an architecture and weights that open_clip lists."""


class ImageTextEncoder(ABC):
    """Embeds in batches; vectors are float32 of length 1."""

    @abstractmethod
    def images(self, images: Sequence[NDArray[np.uint8]]) -> Vectors:
        """Vectors [n, d] of images, each uint8 [height, width, 3]."""

    @abstractmethod
    def texts(self, texts: Sequence[str]) -> tuple[Vectors, NDArray[np.bool_]]:
        """Vectors [n, d] of texts, and for each whether it was longer than the model reads."""


@lru_cache(maxsize=2)
def open_encoder(
    model: str, revision: str | None, batch_size: int, device: str, trust_remote_code: bool = False
) -> ImageTextEncoder:
    """Open a model once per process.

    Raises:
        InfimedError: the package is missing, there is no such model, or it embeds no images and texts.
    """
    if model.startswith(OPEN_CLIP):
        return _OpenClip(model.removeprefix(OPEN_CLIP), batch_size, device)
    return _Transformers(model, revision, batch_size, device, trust_remote_code)


def content_of(model: str) -> str:
    """Digest of a model that lies on this disk; "" of one that a hub or open_clip names."""
    name = model.removeprefix(OPEN_CLIP).removeprefix("local-dir:")
    weights = name.partition("@")[2] if model.startswith(OPEN_CLIP) else ""
    return digest_of_checkpoint(weights or name)


class _Transformers(ImageTextEncoder):
    """Any transformers model with ``get_image_features`` and ``get_text_features``."""

    def __init__(self, model: str, revision: str | None, batch_size: int, device: str, trust_remote_code: bool) -> None:
        from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

        named, place = model, Path(model) if Path(model).is_dir() else _downloaded(model, revision)
        model, revision = str(place), None
        try:
            check_files(place)
            config = AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=trust_remote_code)
            check_size(
                place,
                check_weights(place),
                lambda: AutoModel.from_config(
                    deepcopy(config), attn_implementation="sdpa", trust_remote_code=trust_remote_code
                ),
            )
            # With both named here, config.json cannot choose a kernel that is fetched from the hub and run.
            self.model: Any = AutoModel.from_pretrained(
                model, config=config, revision=revision, use_safetensors=True, attn_implementation="sdpa",
                trust_remote_code=trust_remote_code,
            )  # fmt: skip
            self.processor: Any = AutoImageProcessor.from_pretrained(
                model, revision=revision, backend="pil", trust_remote_code=trust_remote_code
            )
            self.tokenizer: Any = AutoTokenizer.from_pretrained(
                model, revision=revision, trust_remote_code=trust_remote_code
            )
        except Exception as error:  # of transformers, tokenizers and safetensors, which have kinds of their own
            raise InfimedError(f"embedding model '{named}': cannot be opened: {one_line(error)}") from error
        if not (hasattr(self.model, "get_image_features") and hasattr(self.model, "get_text_features")):
            raise InfimedError(
                f"embedding model '{named}' ({type(self.model).__name__}) does not embed images and texts in one "
                "space; name a CLIP or SigLIP checkpoint"
            )
        self.model = self.model.eval().to(device)
        self.batch_size, self.device = batch_size, device
        text_config = getattr(self.model.config, "text_config", self.model.config)
        self.max_tokens = int(getattr(text_config, "max_position_embeddings", 77))
        # SigLIP was trained on texts padded to the full length, and embeds others differently
        self.padding = "max_length" if "siglip" in str(self.model.config.model_type) else True

    def images(self, images: Sequence[NDArray[np.uint8]]) -> Vectors:
        """As promised by the class."""
        found = []
        for start in range(0, len(images), self.batch_size):
            batch = self.processor(images=list(images[start : start + self.batch_size]), return_tensors="pt")
            found.append(self._embed(self.model.get_image_features, batch))
        return np.concatenate(found)

    def texts(self, texts: Sequence[str]) -> tuple[Vectors, NDArray[np.bool_]]:
        """As promised by the class."""
        found, cut = [], []
        for start in range(0, len(texts), self.batch_size):
            part = list(texts[start : start + self.batch_size])
            whole = self.tokenizer(part, verbose=False)["input_ids"]
            cut += [len(ids) > self.max_tokens for ids in whole]
            settings = {"padding": self.padding, "truncation": True, "max_length": self.max_tokens}
            batch = self.tokenizer(part, return_tensors="pt", **settings)
            found.append(self._embed(self.model.get_text_features, batch))
        return np.concatenate(found), np.array(cut, dtype=bool)

    def _embed(self, function: Any, batch: Any) -> Vectors:
        import torch

        with torch.inference_mode():
            output = function(**{name: value.to(self.device) for name, value in batch.items()})
        vectors = output if isinstance(output, torch.Tensor) else output.pooler_output
        return _unit(vectors.float().cpu().numpy())


class _OpenClip(ImageTextEncoder):
    """A model of open_clip, with its own image size, mean and deviation."""

    def __init__(self, model: str, batch_size: int, device: str) -> None:
        name, _, weights = model.partition("@")
        if not weights and not model.startswith(("hf-hub:", "local-dir:")):
            raise InfimedError(
                f"embedding model 'open_clip:{model}' names no weights, and random ones rank nothing; write "
                f"open_clip:{model}@WEIGHTS (a tag that open_clip lists, or a file), open_clip:hf-hub:NAME or "
                "open_clip:local-dir:PATH"
            )
        _check_local(model)
        try:
            import open_clip
        except ImportError as error:
            raise InfimedError(
                f"embedding model 'open_clip:{model}' needs open_clip ({error}); pip install open_clip_torch"
            ) from error
        try:
            _never_ask_to_run_code()
            opened = open_clip.create_model_and_transforms(name, pretrained=weights or None, device=device)
            self.model, _, self.transform = opened
            self.tokenizer = open_clip.get_tokenizer(name)
        except Exception as error:  # of open_clip and what it calls
            raise InfimedError(f"embedding model 'open_clip:{model}': {one_line(error)}") from error
        self.model.eval()
        self.batch_size, self.device = batch_size, device
        inner = getattr(self.tokenizer, "tokenizer", None)  # of transformers, where open_clip wraps one
        self.padding = int(getattr(inner, "pad_token_id", None) or 0)

    def images(self, images: Sequence[NDArray[np.uint8]]) -> Vectors:
        """As promised by the class."""
        import torch
        from PIL import Image

        found = []
        for start in range(0, len(images), self.batch_size):
            batch = [self.transform(Image.fromarray(image)) for image in images[start : start + self.batch_size]]
            with torch.inference_mode():
                found.append(self.model.encode_image(torch.stack(batch).to(self.device)).float().cpu().numpy())
        return _unit(np.concatenate(found))

    def texts(self, texts: Sequence[str]) -> tuple[Vectors, NDArray[np.bool_]]:
        """As promised by the class; a text that fills the context counts as cut."""
        import torch

        found, cut = [], []
        for start in range(0, len(texts), self.batch_size):
            tokens = self.tokenizer(list(texts[start : start + self.batch_size]))
            cut += [bool(row[-1] != self.padding) for row in tokens]
            with torch.inference_mode():
                found.append(self.model.encode_text(tokens.to(self.device)).float().cpu().numpy())
        return _unit(np.concatenate(found)), np.array(cut, dtype=bool)


def _downloaded(model: str, revision: str | None) -> Path:
    """The snapshot of a model of the hub, so that its files are looked at before they are opened."""
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "*.py"]
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
    except Exception as error:
        raise InfimedError(
            f"embedding model '{model}': cannot be opened: no such directory, and not found on the hub "
            f"({type(error).__name__}); give a directory or OWNER/NAME"
        ) from error


def _check_local(model: str) -> None:
    """Refuse weights on this disk that open_clip would unpickle.

    Raises:
        InfimedError: a file that is no safetensors, or a directory without any.
    """
    name, _, weights = model.partition("@")
    if weights and Path(weights).is_file() and not weights.endswith(".safetensors"):
        raise InfimedError(
            f"embedding model 'open_clip:{model}': {weights} is no safetensors file; weights in other formats are not "
            "opened, they could run code; convert it"
        )
    if name.startswith("local-dir:"):
        check_weights(Path(name.removeprefix("local-dir:")))


def _never_ask_to_run_code() -> None:
    """open_clip opens texts' models through transformers without a word on their code: refuse it, ask nobody."""
    from transformers import dynamic_module_utils

    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0


def _unit(vectors: NDArray[Any]) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
