"""Tests are dealt to worker processes so that every one of them is done once, files of slow tests whole and first."""

from hypothesis import given
from hypothesis import strategies as st
from order import dealt

FILES = st.lists(st.lists(st.booleans(), min_size=1, max_size=9), max_size=12)


@given(FILES, st.integers(1, 4))
def test_every_test_is_dealt_once_and_a_slow_file_is_never_torn(files: list[list[bool]], num: int) -> None:
    tests = [(number, index, slow) for number, file in enumerate(files) for index, slow in enumerate(file)]
    ordered = dealt(tests, lambda test: test[0], lambda test: test[2], num)
    assert sorted(ordered) == tests
    for number, file in enumerate(files):
        places = [place for place, test in enumerate(ordered) if test[0] == number]
        if any(file):
            assert places == list(range(places[0], places[0] + len(file)))


def test_every_part_begins_with_what_is_slow() -> None:
    tests = [
        (f"{'slow' if number % 5 == 0 else 'quick'}-{number:02}", index) for number in range(20) for index in (0, 1)
    ]
    ordered = dealt(tests, lambda test: test[0], lambda test: test[0].startswith("slow"), 2)
    for part in (ordered[:20], ordered[20:]):
        assert [test[0].startswith("slow") for test in part] == [True] * 4 + [False] * 16
