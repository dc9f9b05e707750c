"""The isolation test: samples of one row, run alone and run packed, must give the same logits and gradients."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infimed_core import IGNORED_LABEL, Encoded, PackedBatch, assemble
from infimed_plugins.vlm.attention import attention_state, check_borders, num_layers, prepare_module
from infimed_plugins.vlm.expansion import rope_positions
from infimed_plugins.vlm.families import Family, attention_kind, family_of
from infimed_plugins.vlm.patch_rows import patch_features, patches_per_token
from infimed_plugins.vlm.shrinking import PLACEHOLDERS, VOCABULARY, shrink

TOLERANCE = 1e-5
"""Largest difference that counts as equal, relative to the largest logit and to each gradient's largest entry."""

RowFunction = Callable[[Any, PackedBatch, Family | None], Any]


@dataclass(frozen=True)
class Verdict:
    """What the test found. The differences are relative; ``None`` where nothing could be run."""

    packable: bool
    explanation: str
    logits: float | None = None
    gradients: float | None = None


_verdicts: dict[tuple[str, str], Verdict] = {}


def verdict(config: Any, kind: str = "packed", trust_remote_code: bool = False) -> Verdict:
    """Run the test on a shrunken copy of the architecture, once per process."""
    key = (json.dumps(config.to_dict(), sort_keys=True, default=str), kind)
    if key not in _verdicts:
        _verdicts[key] = _judge(config, kind, trust_remote_code)
    return _verdicts[key]


def _judge(config: Any, kind: str, trust_remote_code: bool) -> Verdict:
    family = family_of(config)
    if family is None:
        return Verdict(False, f"'{config.model_type}' is no family InfiMed knows: samples are padded, not packed")
    kind = attention_kind(config, kind)
    if kind.startswith("flash"):
        return Verdict(False, f"attention '{kind}' is not tested; use attention: packed")
    try:
        logits, gradients = measure(config, kind, trust_remote_code=trust_remote_code)
    except Exception as error:
        return Verdict(False, f"the isolation test could not run: {type(error).__name__}: {error}")
    found = f"logits differ by {logits:.1e}, gradients by {gradients:.1e} (relative, fp32"
    if not family.packs:
        told = f"'{config.model_type}' is padded, not packed: {family.leak}; padded against alone on a shrunken copy"
        return Verdict(False, f"{told}: {found})", logits, gradients)
    found += f", limit {TOLERANCE:.0e})"
    same = logits <= TOLERANCE and gradients <= TOLERANCE
    return Verdict(same, f"packed against alone on a shrunken {config.model_type} ({kind}): {found}", logits, gradients)


def measure(
    config: Any, kind: str = "packed", row: RowFunction | None = None, trust_remote_code: bool = False
) -> tuple[float, float]:
    """Largest relative difference of logits, and of any parameter's gradient, packed against alone.

    A family that is never packed is run as the padded row it gets. ``row`` computes a row's hidden states [L, width];
    the real one unless a test tries a wrong one.

    Raises:
        RuntimeError: some attention layer was run without the borders of the samples.
    """
    import torch

    from infimed_plugins.vlm.rows import row_hidden_states

    family, kind = family_of(config), attention_kind(config, kind)
    module = shrunken_module(config, kind, trust_remote_code)
    state = attention_state(module)
    samples = make_samples(module.config, family)
    row = row or row_hidden_states
    with torch.random.fork_rng(devices=[]):
        before = dict(state.calls)
        padded = family is not None and not family.packs and row is row_hidden_states
        together = assemble(samples, padded=padded)
        packed_logits, packed_gradients = _run(module, [together], family, row)
        if kind == "packed":
            wanted = num_layers(module)
            if family is None or not family.native_resolution:
                del wanted["bidirectional"]
            check_borders(state, before, wanted)
        alone_logits, alone_gradients = _run(module, [assemble([sample]) for sample in samples], family, row)
    if together.padded:
        longest = len(together) // len(samples)
        packed_logits = torch.cat([packed_logits[n * longest :][: len(sample)] for n, sample in enumerate(samples)])
    logits = float((packed_logits - alone_logits).abs().max() / alone_logits.abs().max())
    largest = 0.0
    # A key's bias has no gradient but rounding: softmax does not see it. What both ways call nothing is not compared.
    nothing = 1e-7 * max(float(alone.abs().max()) for alone in alone_gradients)
    for packed, alone in zip(packed_gradients, alone_gradients, strict=True):
        scale = float(alone.abs().max())
        if max(scale, float(packed.abs().max())) > nothing:
            largest = max(largest, float((packed - alone).abs().max()) / max(scale, nothing))
    return logits, largest


def shrunken_module(config: Any, kind: str, trust_remote_code: bool = False) -> Any:
    """The shrunken architecture with random weights large enough that every leak shows."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    auto = AutoModelForImageTextToText if getattr(config, "vision_config", None) is not None else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = auto.from_config(
            shrink(config), attn_implementation="sdpa", dtype=torch.float32, trust_remote_code=trust_remote_code
        )
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.1)
            elif name.endswith("A_log"):  # states that last for the whole row: what is forgotten at once hides a leak
                torch.nn.init.constant_(parameter, -2.0)
    module.eval()
    prepare_module(module, kind)
    return module


def _run(module: Any, rows: Sequence[PackedBatch], family: Family | None, row: RowFunction) -> tuple[Any, list[Any]]:
    """Logits of all tokens, and the gradients of the summed loss over all rows."""
    import torch

    module.zero_grad(set_to_none=True)
    logits = []
    for batch in rows:
        scores = module.get_output_embeddings()(row(module, batch, family))
        labels = torch.from_numpy(batch.labels)
        torch.nn.functional.cross_entropy(scores, labels, ignore_index=IGNORED_LABEL, reduction="sum").backward()
        logits.append(scores.detach())
    gradients = [
        torch.zeros_like(p) if p.grad is None else p.grad.detach().clone()
        for p in module.parameters()
        if p.requires_grad
    ]
    return torch.cat(logits), gradients


def make_samples(config: Any, family: Family | None) -> list[Encoded]:
    """Seven samples: one image, text alone, one token, two images of unlike size, text alone, one token, one image."""
    random = np.random.default_rng(0)
    vision = getattr(config, "vision_config", None)
    shapes: list[list[tuple[int, int]]] = [[(2, 3)], [], [], [(1, 2), (3, 1)], [], [], [(2, 2)]]
    lengths = [9, 11, 1, 6, 14, 1, 5]
    samples = []
    for number, (grids, length) in enumerate(zip(shapes, lengths, strict=True)):
        grids = grids if family and family.takes_images and vision is not None else []
        pieces: list[Any] = [random.integers(8, VOCABULARY, length)]
        tiles = grids
        if family and family.tiled:  # a first image of three tiles, one below the other
            tiles = [grid for place, grid in enumerate(grids) for _ in range(1 if place else 3)]
            grids = [(down if place else 3 * down, across) for place, (down, across) in enumerate(grids)]
        for down, across in grids:
            placeholders = np.full(down * across, PLACEHOLDERS["image_token_id"])
            markers = PLACEHOLDERS["vision_start_token_id"], PLACEHOLDERS["vision_end_token_id"]
            pieces += [[markers[0]], placeholders, [markers[1]], random.integers(8, VOCABULARY, 3)]
        ids = np.concatenate(pieces).astype(np.int64)
        types = (ids == PLACEHOLDERS["image_token_id"]).astype(np.int64) if grids else np.zeros_like(ids)
        labels = np.append(ids[1:], IGNORED_LABEL)
        labels[np.append(types[1:], 0) == 1] = IGNORED_LABEL
        arrays: dict[str, Any] = {}
        if grids and family and vision is not None and family.images in ("siglip", "internvl"):
            side = vision.image_size[0] if isinstance(vision.image_size, list | tuple) else vision.image_size
            arrays["pixel_values"] = random.standard_normal((len(tiles), 3, side, side)).astype(np.float32)
            arrays["image_grid"] = np.array(tiles, dtype=np.int64)
        elif grids and vision is not None:
            merge, features = patches_per_token(config), patch_features(vision)
            num_patches = sum(down * across for down, across in grids) * merge**2
            arrays["pixel_values"] = random.standard_normal((num_patches, features)).astype(np.float32)
            arrays["image_grid_thw"] = np.array([(1, d * merge, a * merge) for d, a in grids], dtype=np.int64)
        rows = rope_positions(types, np.array(grids, dtype=np.int64).reshape(-1, 2))
        positions = rows if family and family.rope_rows == 4 else rows[:1]
        counts = tuple(down * across for down, across in grids)
        samples.append(Encoded(f"{number}", ids, labels, positions, types, counts, arrays))
    return samples
