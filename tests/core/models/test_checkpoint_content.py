"""Who a checkpoint is, its content says: another one at the same place is another model."""

import os
from pathlib import Path

import pytest

from infimed_core import digest_of_checkpoint, named_files
from infimed_plugins.embedding.scorer import EmbeddingScorer
from infimed_plugins.vllm.model import Vllm
from infimed_plugins.vlm.assemble import Assemble
from infimed_plugins.vlm.checkpoint import Transformers

HEADER = b"\x02\x00\x00\x00\x00\x00\x00\x00{}"


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(HEADER + bytes(3_000_000))
    return folder


def swap(file: Path, content: bytes) -> None:
    """Another content of the same size at the same time, as a copy that keeps times makes it."""
    state = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def models(path: str) -> list[str]:
    vllm, clip = Vllm(checkpoint=path), EmbeddingScorer(model=path)
    own, parts = Transformers(checkpoint=path), Assemble(vision=path, language=path)
    texts = [own.identity(), own.weights_identity(), parts.identity(), parts.weights_identity()]
    return [*texts, vllm.identity(), clip.identity()]


@pytest.mark.parametrize("kept_from", [1, 2**40])
def test_weights_of_the_same_size_header_and_time_are_another_model(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, kept_from: int
) -> None:
    monkeypatch.setattr(named_files, "KEPT_BYTES", kept_from)
    before = models(str(checkpoint))
    assert models(str(checkpoint)) == before
    swap(checkpoint / "model.safetensors", HEADER + bytes(2_999_999) + b"\1")  # the last weight alone
    after = models(str(checkpoint))
    assert all(one != other for one, other in zip(before, after, strict=True))
    swap(checkpoint / "model.safetensors", HEADER + bytes(3_000_000))
    assert models(str(checkpoint)) == before


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja"])
def test_every_file_that_decides_what_a_checkpoint_says_counts(checkpoint: Path, name: str) -> None:
    before = digest_of_checkpoint(str(checkpoint))
    (checkpoint / name).write_text('{"other": 1}')
    assert digest_of_checkpoint(str(checkpoint)) != before


def test_notes_beside_a_checkpoint_and_its_times_do_not_count(checkpoint: Path) -> None:
    before = digest_of_checkpoint(str(checkpoint))
    (checkpoint / "README.md").write_text("notes")
    (checkpoint / "artifact.json").write_text("{}")
    os.utime(checkpoint / "model.safetensors", (1, 1))
    assert digest_of_checkpoint(str(checkpoint)) == before
    assert digest_of_checkpoint("owner/name") == ""


def test_large_weights_are_read_whole_once(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named_files, "KEPT_BYTES", 1)
    read: list[str] = []
    content = named_files._content
    monkeypatch.setattr(named_files, "_content", lambda path: read.append(path.name) or content(path))
    first = digest_of_checkpoint(str(checkpoint))
    for _ in range(2):
        named_files._known.clear()  # as in another process
        assert digest_of_checkpoint(str(checkpoint)) == first
    assert sorted(read) == ["config.json", "model.safetensors", "tokenizer.json"]
