"""Parts follow the shards of the sources, so that a shard that comes leaves the parts of the others as they were."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infimed_core import Media, MediaLoader, Sample, Score, Scorer, Turn
from infimed_core.curate.score_shards import PART_SIZE, SMALL, ScoringJob, Shard, read_shards, spans, write_shards
from infimed_core.store.broadcast import Broadcast
from infimed_core.store.dataset import Dataset, write_samples

named = st.lists(st.tuples(st.text(max_size=3), st.integers(0, 1400)), max_size=9)


def of_shards(shards: list[Shard]) -> list[tuple[tuple[str, int], ...]]:
    """For each part, which row of which shard every one of its rows is."""
    rows = [(shard.name, number) for shard in shards for number in range(shard.num_samples)]
    return [tuple(rows[start:stop]) for start, stop in spans(shards)]


@given(named)
def test_every_row_is_in_one_part_and_no_part_is_larger_than_it_may(pairs: list[tuple[str, int]]) -> None:
    found = list(spans([Shard(*pair) for pair in pairs]))
    rows = [row for start, stop in found for row in range(start, stop)]
    assert rows == list(range(sum(num for _, num in pairs)))
    assert all(0 < stop - start <= PART_SIZE for start, stop in found)


@given(st.lists(st.integers(SMALL, 1400), max_size=6), st.integers(0, 6), st.integers(SMALL, 1400))
def test_a_shard_that_comes_leaves_the_parts_of_the_others(sizes: list[int], place: int, size: int) -> None:
    shards = [Shard(f"{number}.jsonl", size) for number, size in enumerate(sizes)]
    more = [*shards[:place], Shard("new.jsonl", size), *shards[place:]]
    before, after = of_shards(shards), of_shards(more)
    assert set(before) <= set(after)
    assert {row[0] for part in set(after) - set(before) for row in part} == {"new.jsonl"}


def test_small_shards_share_parts_and_one_that_comes_changes_few() -> None:
    shards = [Shard(f"{number}.json", 1 + number % 3) for number in range(3000)]
    before = of_shards(shards)
    assert 40 < 6000 / len(before) < 110
    after = of_shards([*shards[:1500], Shard("new.json", 2), *shards[1500:]])
    assert len(set(after) - set(before)) <= 2


def test_shards_are_kept_beside_the_samples(tmp_path: Path) -> None:
    dataset = written(tmp_path, 3)
    assert read_shards(dataset) == [Shard("", 3)]
    write_shards(dataset.path, [Shard("jsonl ä.jsonl", 2), Shard("jsonl b.jsonl", 1)])
    assert read_shards(dataset) == [Shard("jsonl ä.jsonl", 2), Shard("jsonl b.jsonl", 1)]


class Quiet(Scorer):
    def score(self, samples: Any, media: MediaLoader) -> list[Score]:
        return [Score() for _ in samples]


def written(folder: Path, num: int) -> Dataset:
    folder.mkdir(exist_ok=True)
    turns = (Turn(role="user", content=(0,)), Turn(role="assistant", content=("So.",)))
    (folder / "x.png").write_bytes(b"a picture")
    media = (Media(uri=str(folder / "x.png")),)
    write_samples(folder / "samples.jsonl", [Sample(id=f"s{n}", turns=turns, media=media) for n in range(num)])
    return Dataset(folder / "samples.jsonl")


def test_a_part_is_known_by_its_rows_their_media_its_scorer_and_what_else_a_score_depends_on(tmp_path: Path) -> None:
    dataset = written(tmp_path, 4)
    setting = ScoringJob(Quiet(), dataset, MediaLoader({}), tmp_path / "score-1", "scorer one")
    first = setting.target(0, 2)
    assert first == setting.target(0, 2) == pickle.loads(pickle.dumps(setting)).target(0, 2)
    others = {
        setting.target(2, 4),
        setting.target(0, 2, lambda sample: "flagged"),
        ScoringJob(Quiet(), dataset, MediaLoader({}), tmp_path / "score-1", "scorer two").target(0, 2),
    }
    os.utime(tmp_path / "x.png", ns=(1, 1))
    others.add(setting.target(0, 2))
    assert len({path.name.rpartition("-")[2] for path in {first, *others}}) == 5


def test_what_tasks_have_in_common_is_unpickled_once_and_the_last_one_is_kept() -> None:
    first, second = (Broadcast({"words": name}) for name in "ab")
    received = [pickle.loads(pickle.dumps(each)).value for each in (first, first, second, second)]
    assert received[0] is received[1] and received[2] is received[3] and received[0] == {"words": "a"}
