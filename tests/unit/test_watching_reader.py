"""The reader that watches promotions: what it must notice, and what it must not."""

from tests.support.watching_reader import Watch


def test_a_view_that_is_older_than_the_one_before_is_noticed() -> None:
    watch = Watch()
    for customer, version, offset in (("a", 1, 5), ("b", 1, 2), ("a", 2, 5), ("a", 2, 9), ("a", 1, 8), ("b", 1, 2)):
        watch.note(customer, version, 3, offset)
    assert watch.went_back == ["partition 3: offset 9 by v2, then 8 by v1"]
    assert watch.json()["turns"] == [1, 2, 1]
    assert watch.json()["versions"] == {"1": 4, "2": 2}


def test_offsets_of_two_partitions_are_not_compared() -> None:
    watch = Watch()
    watch.note("a", 1, 3, 50)
    watch.note("a", 1, 4, 7)
    assert not watch.went_back
