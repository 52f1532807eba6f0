"""States that were stored before links between customers were kept in them: they are read as those of customers who stand alone."""

from typing import Any, Final

import msgspec
import pytest

from projections.kernel import Subject
from projections.linked import Links
from projections.registry import GROUPS

EARLIER: Final[dict[str, tuple[list[Any], str, Any]]] = {
    "sla": (["acme|c1", None, 7, {}, [], [], [], [], {}, {}, {}, False, ["", "", "", 0, 0, 0, 0], 3, 5], "rules_armed_us", 5),
    "unanswered": (["acme", "c1", {}, [], {}, {}, [7, 0, -1, "e"], False], "asked", (7, 0, -1, "e")),
    "service_levels": ([7, {"k1": [[], [], 0, ""]}, None, {}], "newest_us", 7),
    "customer": ([7, {}], "newest_us", 7),
}
"""As stored, and what one of its fields is."""


@pytest.mark.parametrize("name", EARLIER)
def test_a_state_that_was_stored_before_there_were_links_can_be_read(name: str) -> None:
    stored, field, value = EARLIER[name]
    [projection] = [one for group in GROUPS.values() for one in group.projections if one.name == name]
    kind = type(projection.initial(Subject("acme", "c1")))
    found = msgspec.msgpack.decode(msgspec.msgpack.encode(stored), type=kind)
    assert getattr(found, field) == value
    assert getattr(found, "links", None) in (None, {}, Links())
