"""Small samples, images and runs, made up, and what the checks have in common."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from infimed_core import contracts
from infimed_core.api.component import Component
from infimed_core.api.data import Media, Sample, Turn

C = TypeVar("C", bound=Component)
R = TypeVar("R")


def make_image(height: int = 48, width: int = 64, seed: int = 0) -> bytes:
    """A PNG file of smooth seeded noise, RGB."""
    import io

    from PIL import Image

    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    target = io.BytesIO()
    Image.fromarray(coarse).resize((width, height)).save(target, format="PNG")
    return target.getvalue()


def make_sample(
    identity: str = "sample-1",
    question: str = "Which plane is this?",
    answer: str | None = "axial",
    images: Sequence[bytes] = (),
    **tags: str,
) -> Sample:
    """A sample of one question, its images before it, and its answer (``None``: a benchmark sample without one)."""
    media = tuple(Media(data=data, sha256=hashlib.sha256(data).hexdigest()) for data in images)
    turns = [Turn(role="user", content=(*range(len(media)), question))]
    if answer is not None:
        turns.append(Turn(role="assistant", content=(answer,)))
    return Sample(id=identity, turns=tuple(turns), media=media, tags=tags, references=(answer,) if answer else ())


def require(holds: object, thing: object, method: str, what: str) -> None:
    """Raise ``AssertionError`` with class, method and what is wrong."""
    if not holds:
        raise AssertionError(f"{contracts.named(thing, method)} {what}")


def some_samples(samples: Sequence[Sample] | None) -> Sequence[Sample]:
    """Those that are given, or text alone, one image and two, of different sizes."""
    images = [make_image(48, 64), make_image(33, 97, seed=1)]
    return samples or [make_sample(f"sample-{n}", images=images[:n], answer="axial " * (n + 1)) for n in range(3)]


def check_component(component: C) -> C:
    """A component is equal after pickling and after a round trip of its settings; returns the unpickled copy."""
    copy: C = pickle.loads(pickle.dumps(component))  # our own object, made a line above
    require(copy == component, component, "__init__", "makes another component when it is pickled")
    again = type(component).model_validate(component.model_dump())
    require(again == component, component, "model_dump", "loses settings: they do not make the same component again")
    require(copy.identity() == component.identity(), component, "identity", "is another after pickling")
    return copy


def twice(component: Component, method: str, call: Callable[[], R], shown: Callable[[R], Any] = lambda r: r) -> R:
    """What a component gives, the same twice."""
    check_component(component)
    result = call()
    try:
        np.testing.assert_equal(shown(call()), shown(result))
    except AssertionError as error:
        require(False, component, method, f"gives another result the second time: {error}")
    return result


def unique(thing: object, method: str, samples: Sequence[Sample]) -> list[Sample]:
    """The samples, no two with one id."""
    seen: set[str] = set()
    for sample in samples:
        require(sample.id not in seen, thing, method, f"gives the id '{sample.id}' twice; ids are unique")
        seen.add(sample.id)
    return list(samples)
