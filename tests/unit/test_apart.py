"""What undone links take out of one customer's records, and what stays."""

from collections.abc import Callable
from typing import Any

import pytest

from schemas.codec import Head
from schemas.events import ClockMoved, IdentityCopied, IdentityLinked, IdentityUnlinked, MessageReceived, PrivacyErased
from schemas.record import Event
from streams.identity.apart import Apart, apart
from tests.support.linked_log import CODEC, LinkedLog

LOG = LinkedLog()


def header(key: str, home: str = "", **fields: Any) -> Any:
    """Return the header of a record under a key."""
    found = LOG._header(f"e{len(fields)}", key)
    return type(found)(**{name: getattr(found, name) for name in found.__struct_fields__} | {"home_customer_id": home or key} | fields)


def message(key: str, home: str = "", **fields: Any) -> Event:
    return MessageReceived(header=header(key, home, **fields))


def copy(key: str, home: str, origin: str, offset: int) -> Event:
    return message(key, home, origin_customer_id=origin, origin_offset=offset, appended_at_us=1)


def linked(key: str, of: str, to: str, turn: int = 0, via: str = "") -> Event:
    handle = LOG.handle(of)
    return IdentityLinked(header=header(key), handle=handle, from_=of, to=to, turn=turn, via=via)


def unlinked(key: str, of: str, to: str, turn: int = 1, back: str = "") -> Event:
    return IdentityUnlinked(header=header(key), from_=of, to=to, turn=turn, back=back)


def copied(key: str, of: str, to: str) -> Event:
    return IdentityCopied(header=header(key), from_=of, home=of, to=to, last_offset=1, write_ts_us=1)


def moved(key: str, origin: str, home: str) -> Event:
    return ClockMoved(header=header(key), origin=origin, home=home, conversation="x", metric="m", announced=True)


def of(key: str, *events: Event) -> Apart:
    """Return what is taken out of these records of a key."""
    heads = [CODEC.head(CODEC.encode(event)) for event in events]
    assert all(isinstance(head, Head) for head in heads)
    return apart(CODEC, key, heads)


UNDER_C: tuple[tuple[str, Event, bool], ...] = (
    ("a record of its own", message("c"), False),
    ("a record of the other one that came directly", message("c", "p"), True),
    ("a copy from the other one", copy("c", "p", "p", 1), True),
    ("a copy from the other one of somebody who was linked to it", copy("c", "q", "p", 2), True),
    ("a copy from somebody else of the other one's", copy("c", "p", "q", 3), True),
    ("a copy from somebody else", copy("c", "q", "q", 1), False),
    ("the link", linked("c", "p", "c"), True),
    ("somebody else's link", linked("c", "q", "c"), False),
    ("that all is copied", copied("c", "p", "c"), True),
    ("that all of somebody else is copied", copied("c", "q", "c"), False),
    ("what the other one had announced", moved("c", "p", "p"), True),
    ("what somebody else had announced", moved("c", "q", "q"), False),
    ("that the customer was erased", PrivacyErased(header=header("c"), customer="c", erasure="1"), False),
)


@pytest.mark.parametrize(("event", "is_out"), [one[1:] for one in UNDER_C], ids=[one[0] for one in UNDER_C])
def test_under_whom_another_one_was_linked_goes_what_came_with_the_link(event: Event, *, is_out: bool) -> None:
    assert of("c", event, unlinked("c", "p", "c")).out == (frozenset({0}) if is_out else frozenset())


def test_what_lies_behind_stays_and_so_does_the_record_that_undoes() -> None:
    found = of("c", linked("c", "p", "c"), message("c", "p"), unlinked("c", "p", "c"), linked("c", "p", "c", 2), message("c", "p"), message("c", "p"))
    assert found.out == {0, 1}


def test_who_was_linked_keeps_everything_but_the_link_and_has_what_came_back_as_its_own() -> None:
    given_back = copy("p", "p", "c", 4)
    found = of("p", message("p"), linked("p", "p", "c"), message("p"), given_back, copied("p", "c", "p"), unlinked("p", "p", "c"))
    assert found.out == {1}
    assert found.home == {3}
    assert of("p", message("p"), unlinked("p", "p", "c"), given_back).home == frozenset()  # handed on later: it comes when it comes


def links_of_q(*, back: str) -> Apart:
    return of("q", linked("q", "q", "p"), linked("q", "q", "c", 1, via="p"), unlinked("q", "q", "c", 2, back=back))


def test_who_goes_back_to_whom_it_came_along_with_is_still_linked_there() -> None:
    assert links_of_q(back="p").out == {1}
    assert links_of_q(back="").out == {0, 1}


@pytest.mark.parametrize("under", ["c", "p"])
def test_what_undoes_a_link_that_was_made_again_before_it_came_undoes_nothing(under: str) -> None:
    again: Callable[[int], Event] = lambda turn: linked(under, "p", "c", turn)  # noqa: E731
    found = of(under, again(0), unlinked(under, "p", "c", 1), again(2), unlinked(under, "p", "c", 1), message(under, "p"))
    assert found.stale == {3}
    assert found.out == {0}


def test_records_without_an_undone_link_are_all_there() -> None:
    assert of("c", message("c"), linked("c", "p", "c"), copy("c", "p", "p", 1)) == Apart(frozenset(), frozenset(), frozenset())
    assert of("x", message("x"), unlinked("x", "p", "c")).out == frozenset()
