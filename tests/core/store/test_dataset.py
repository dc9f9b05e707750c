"""Samples on disk and their index: any row at once, media by content, headers alone, faults told."""

from __future__ import annotations

import hashlib
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from infimed_core import DataError, Media, MediaLoader, Mix
from infimed_core.plan.index import Index, build_index
from infimed_core.store.dataset import Dataset, store_media, write_samples

sys.path.insert(0, str(Path(__file__).parents[1] / "plan"))
from planning_fakes import Pictures, TinyEncoder, calls, sample, samples

LOADER = MediaLoader({"image": Pictures()})


def stored(tmp_path, rows):
    path = tmp_path / "samples.jsonl"
    assert write_samples(path, rows) == len(rows)
    return Dataset(path)


def test_any_row_is_read_in_any_order_also_after_pickling(tmp_path):
    rows = [*samples(30), sample("é\u2028\x85", "line\nbreak 中", source="x")]
    dataset = stored(tmp_path, rows)
    assert len(dataset) == 31
    copy = pickle.loads(pickle.dumps(dataset))
    for number in np.random.default_rng(0).permutation(31):
        assert dataset[number] == rows[number] == copy[number]
    assert list(dataset.ids) == [row.id for row in rows]
    assert len(pickle.dumps(dataset)) < 1000
    with pytest.raises(IndexError):
        dataset[31]


def test_a_file_that_changed_is_read_anew_and_a_missing_last_newline_is_a_line(tmp_path):
    dataset = stored(tmp_path, samples(5))
    assert len(dataset) == 5
    write_samples(dataset.path, samples(8, seed=1))
    assert Dataset(dataset.path)[7] == samples(8, seed=1)[7]
    dataset.path.write_bytes(dataset.path.read_bytes().rstrip(b"\n") + b"")
    assert Dataset(dataset.path)[7] == samples(8, seed=1)[7]
    dataset.path.write_bytes(b"")
    assert len(Dataset(dataset.path)) == 0


def test_a_broken_offsets_file_is_made_anew(tmp_path):
    dataset = stored(tmp_path, samples(5))
    (tmp_path / "samples.jsonl.offsets.npy").write_bytes(b"\x93NUMPY cut")
    assert dataset[4] == samples(5)[4]


def test_a_line_that_is_no_sample_is_told_by_file_and_line(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text(sample("a").model_dump_json() + '\n{"id": 3, "turns": []}\n')
    with pytest.raises(DataError, match=r"samples\.jsonl:2: id"):
        Dataset(path)[1]


def test_a_missing_file_is_told_by_name(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        len(Dataset(tmp_path / "gone.jsonl"))


def test_inline_media_are_stored_once_by_content(tmp_path):
    data = b"\x89PNG and more"
    row = sample("a").model_copy(update={"media": (Media(data=data), Media(data=data), Media(uri="4x4"))})
    kept = store_media(row, tmp_path)
    sha256 = hashlib.sha256(data).hexdigest()
    assert [item.data for item in kept.media] == [None] * 3
    assert kept.media[0] == kept.media[1]
    assert kept.media[0].sha256 == sha256
    assert Path(kept.media[0].uri) == tmp_path / sha256[:2] / f"{sha256}.png"
    assert Path(kept.media[0].uri).read_bytes() == data
    assert kept.media[2] == row.media[2]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{sha256}.png"]


def test_a_stored_file_cut_short_is_written_again(tmp_path):
    row = sample("a").model_copy(update={"media": (Media(data=b"whole"),)})
    path = Path(store_media(row, tmp_path).media[0].uri)
    path.write_bytes(b"")
    store_media(row, tmp_path)
    assert path.read_bytes() == b"whole"


def test_an_index_opens_headers_alone_and_equal_images_once(tmp_path):
    rows = [sample(f"s{n}", images=["32x48", f"{16 + n}x16"]) for n in range(20)]
    calls.update(probe=0, load=0)
    index = build_index(stored(tmp_path, rows), TinyEncoder(), LOADER)
    assert calls == {"probe": 21, "load": 0}
    assert index.sizes[2:4].tolist() == [[32, 48], [17, 16]]
    assert index.image_offsets.tolist() == list(range(0, 41, 2))
    assert index.text.tolist() == [5] * 20 and index.supervised.tolist() == [2] * 20


def test_what_cannot_be_indexed_is_a_fault_and_the_rest_stay(tmp_path):
    rows = [sample("good"), sample("bad", images=["4x4", "header"]), sample("mute", "untokenizable"), sample("last")]
    unknown = sample("odd").model_copy(update={"media": (Media(kind="smell", uri="x"),)})
    unknown = unknown.model_copy(
        update={"turns": (unknown.turns[0].model_copy(update={"content": (0, "q")}), unknown.turns[1])}
    )
    index = build_index(stored(tmp_path, [*rows, unknown]), TinyEncoder(), LOADER)
    assert index.usable.tolist() == [True, False, False, True, False]
    assert [(f.sample_id, f.code) for f in index.faults] == [
        ("bad", "corrupt"), ("mute", "no_tokens"), ("odd", "unknown_kind"),
    ]  # fmt: skip
    assert index.text.tolist()[3] == 5


def test_an_index_comes_back_as_it_was_saved(tmp_path):
    index = build_index(stored(tmp_path, [*samples(20), sample("x", images=["header"])]), TinyEncoder(), LOADER)
    index.save(tmp_path / "index.npz")
    again = Index.load(tmp_path / "index.npz")
    for name in ("text", "supervised", "image_offsets", "sizes", "usable"):
        assert np.array_equal(getattr(index, name), getattr(again, name)), name
    assert (again.faults, again.digest, again.tag_values) == (index.faults, index.digest, index.tag_values)
    assert again.matching(Mix(where={"source": "b"})).tolist() == index.matching(Mix(where={"source": "b"})).tolist()


def test_an_index_with_pickled_content_is_refused(tmp_path):
    np.savez(tmp_path / "index.npz", facts=np.array([{"digest": "x"}], dtype=object))
    with pytest.raises(ValueError, match="pickled objects"):
        Index.load(tmp_path / "index.npz")


@pytest.mark.parametrize("where", [{}, {"source": "a"}, {"source": ("a", "c")}, {"source": "z"}, {"none": "a"}])
def test_an_index_matches_a_mix_as_the_mix_matches_tags(tmp_path, where):
    rows = [*samples(12), sample("untagged")]
    index = build_index(stored(tmp_path, rows), TinyEncoder(), LOADER)
    assert index.matching(Mix(where=where)).tolist() == [Mix(where=where).matches(row.tags) for row in rows]


def test_the_digest_follows_data_and_encoder(tmp_path):
    class Other(TinyEncoder):
        identity = "other"

    first = build_index(stored(tmp_path, samples(3)), TinyEncoder(), LOADER).digest
    assert build_index(stored(tmp_path / "b", samples(3)), TinyEncoder(), LOADER).digest == first
    assert build_index(stored(tmp_path / "c", samples(4)), TinyEncoder(), LOADER).digest != first
    assert build_index(stored(tmp_path, samples(3)), Other(), LOADER).digest != first


def test_what_an_earlier_index_knows_is_neither_tokenised_nor_probed_again(tmp_path):
    class Counting(TinyEncoder):
        counted = 0

        def text_lengths(self, samples):
            Counting.counted += len(samples)
            return super().text_lengths(samples)

    rows = [sample(f"s{n}", images=["32x48", f"{16 + n}x16"], source="x") for n in range(20)]
    first = build_index(stored(tmp_path / "a", rows), Counting(), LOADER)
    first.save(tmp_path / "index.npz")
    more = stored(tmp_path / "b", [sample("new", images=["99x99"]), *rows[::-1], sample("bad", images=["header"])])
    calls.update(probe=0, load=0)
    Counting.counted = 0
    grown = build_index(more, Counting(), LOADER, earlier=[Index.load(tmp_path / "index.npz")])
    assert (calls["probe"], Counting.counted) == (2, 2)
    whole = build_index(more, Counting(), LOADER)
    for name in ("text", "supervised", "image_offsets", "sizes", "usable", "keys"):
        assert np.array_equal(getattr(grown, name), getattr(whole, name)), name
    assert (grown.digest, grown.faults, grown.tag_values) == (whole.digest, whole.faults, whole.tag_values)

    class Other(Counting):
        identity = "other"

    Counting.counted = 0
    build_index(more, Other(), LOADER, earlier=[first])
    assert Counting.counted == 22


def test_a_file_replaced_in_place_is_probed_again(tmp_path):
    class Files(Pictures):
        def probe(self, media):
            calls["probe"] += 1
            return (len(Path(media.uri).read_bytes()), 8)

    file = tmp_path / "picture"
    file.write_bytes(b"x" * 10)
    dataset, loader = stored(tmp_path, [sample("s", images=[str(file)])]), MediaLoader({"image": Files()})
    first = build_index(dataset, TinyEncoder(), loader)
    file.write_bytes(b"x" * 30)
    assert build_index(dataset, TinyEncoder(), loader, earlier=[first]).sizes.tolist() == [[30, 8]]
