"""Groups: their order, their tables, and what is refused at import."""

from collections.abc import Callable

import pytest

from projections.customer import Customer
from projections.registry import GROUPS, Group, versioned
from projections.timeline import Timeline
from touchline.errors import Misconfigured


class Base:
    """Needs nothing."""

    name, version, handles, depends_on = "base", 1, frozenset(), ()


class Needy(Base):
    """Needs the base."""

    name, depends_on = "needy", ("base",)


class Loop(Base):
    """Needs who needs."""

    name, depends_on = "loop", ("needy",)


class Looped(Base):
    """Closes the circle."""

    depends_on = ("loop",)


class Newer(Base):
    """Is newer than its group."""

    version = 2


def test_the_view_group_owns_the_timeline_and_the_customer() -> None:
    view = GROUPS["view"]
    assert [projection.name for projection in view.projections] == ["timeline", "customer"]
    assert [table.physical for table in view.tables()] == ["timeline_v1", "timeline_months_v1", "customer_v1", "conversation_v1", "view_v1_state"]


def test_readers_do_not_read_states() -> None:
    assert [table.name for table in GROUPS["view"].reader_tables] == ["timeline", "timeline_months", "customer", "conversation"]


def test_every_version_has_tables_of_its_own() -> None:
    assert {table.physical for table in Group("view", 2, (Timeline(), Customer())).tables()}.isdisjoint(t.physical for t in GROUPS["view"].tables())


def test_a_projection_runs_after_those_it_depends_on() -> None:
    assert [projection.name for projection in Group("g", 1, (Needy(), Base())).projections] == ["base", "needy"]


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda: Group("g", 1, (Needy(),)), "depends on base"),
        (lambda: Group("g", 1, (Looped(), Needy(), Loop())), "circle"),
        (lambda: Group("g", 1, (Base(), Base())), "projection base"),
        (lambda: Group("g", 1, (Newer(),)), "newer"),
        (lambda: versioned(Group("g", 1, (Base(),)), Group("g", 1, (Needy(), Base()))), "group version g v1"),
        (lambda: versioned(Group("g", 1, (Base(),)), Group("h", 1, (Needy(), Base()))), "projection base"),
        (
            lambda: versioned(
                Group("g", 1, (Timeline(),)), Group("h", 1, (type("Other", (Timeline,), {"name": "o", "__module__": Timeline.__module__})(),))
            ),
            "table timeline",
        ),
    ],
    ids=["unknown", "circle", "twice", "newer", "two groups", "two projections", "two owners"],
)
def test_what_does_not_fit_together_is_refused_at_import(build: Callable[[], object], why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        build()
