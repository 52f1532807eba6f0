"""The ranges that CQL is asked for hold exactly the rows within the bounds, in order, each once."""

from hypothesis import given
from hypothesis import strategies as st

from projections.tables import Clustering, Table
from streams.store.slices import Bound, Slice, in_bounds, slices, sort_rows

VALUES = (0, 1, 2)
KEYS: list[Bound] = [(a, b, c) for a in VALUES for b in VALUES for c in VALUES]
BOUNDS = st.none() | st.lists(st.sampled_from(VALUES), min_size=1, max_size=3).map(tuple)


def table(order: list[bool]) -> Table:
    """Return a table of three clustering columns, each descending or not."""
    return Table("t", "t_v1", ("p",), tuple(Clustering(name, down) for name, down in zip("abc", order, strict=True)), dict.fromkeys("pabc", "int"))


def answers(part: Slice, key: Bound, clustering: tuple[Clustering, ...]) -> bool:
    """Say what a server would say of one row, from the text of the condition."""
    values = iter((*part.equal, *part.lower, *part.upper))
    named = dict(zip("abc", key, strict=True))
    for clause in part.condition(clustering).split(" AND ")[1:]:
        column, sign, _ = clause.split()
        mine, other = named[column], next(values)
        kept = {"=": mine == other, "<": mine < other, ">": mine > other, "<=": mine <= other, ">=": mine >= other}[sign]  # type: ignore[operator]
        if not kept:
            return False
    return True


@given(order=st.lists(st.booleans(), min_size=3, max_size=3), after=BOUNDS, upto=BOUNDS)
def test_slices_hold_what_lies_within_the_bounds(order: list[bool], after: Bound | None, upto: Bound | None) -> None:
    """Compared with the plain comparison that the store in memory uses, on every key there is."""
    of = table(order)
    keys = sort_rows(KEYS, of.clustering)
    expected = [key for key in keys if in_bounds(key, of.clustering, after, upto)]
    found = [key for part in slices(of, after, upto) for key in keys if answers(part, key, of.clustering)]
    assert found == expected
