"""What undone links take out of one subject's records: log.md §5. A pure filter, wherever a subject is folded alone.

    under C, before `identity.unlinked{from: P, to: C}`    records whose home is P, copies from P, and what was said of the link
    under P, before the same record                        what was said of the link; all else is P's, and what C gave back is as if
                                                           it had never been anywhere else

What lies behind stays: a link that is made again counts again. The record that undoes it stays too: it says whose records no longer belong
here. So the same is left whether a subject is folded when it is read, or in any rebuild later. Must not know who folds, or why.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from schemas.codec import Codec, Head, Undecodable
from schemas.events import ClockMoved, IdentityCopied, IdentityLinked, IdentityUnlinked
from schemas.record import Event
from streams.identity.copies import home_of, is_machinery

__all__ = ["NOTHING", "Apart", "apart"]

_TOLD: Final[frozenset[type[Event]]] = frozenset({ClockMoved, IdentityCopied, IdentityLinked, IdentityUnlinked})
"""What is told of a link, or because of one: of these the body matters."""


class Apart(NamedTuple):
    """Which records are taken out, by their numbers; `stale` are those that undo nothing, since the link was made again before they came.

    `home` are copies that came home: they count as what they are copies of, at its time.
    """

    out: frozenset[int]
    stale: frozenset[int]
    home: frozenset[int]


NOTHING: Final = Apart(frozenset(), frozenset(), frozenset())


def apart(codec: Codec, key: str, heads: Sequence[Head | Undecodable]) -> Apart:
    """Return what undone links take out of the records of one key, all of them, in the order of the log.

    What cannot be read stays. Without an `identity.unlinked` among them this costs a look at each.
    """
    if not any(head.__class__ is not Undecodable and head.type is IdentityUnlinked for head in heads):  # type: ignore[union-attr]
        return NOTHING
    told = {number: codec.body(head) for number, head in enumerate(heads) if isinstance(head, Head) and head.type in _TOLD}
    out: set[int] = set()
    stale: set[int] = set()
    home: set[int] = set()
    for number, undone in told.items():
        if not isinstance(undone, IdentityUnlinked) or key not in {undone.from_, undone.to}:
            continue
        before = {n: event for n, event in told.items() if n < number and n not in out}
        if any(isinstance(event, IdentityLinked) and _pair(event) == _pair(undone) and event.turn > undone.turn for event in before.values()):
            stale.add(number)
            continue
        said = _said_here if undone.to == key else _said_of_itself
        out |= {n for n, event in before.items() if said(event, undone)}
        until = [(n, head) for n, head in enumerate(heads[:number]) if isinstance(head, Head) and not is_machinery(head.type)]
        if undone.to == key:
            out |= {n for n, head in until if undone.from_ in {home_of(head.header, key), head.header.origin_customer_id}}
        else:
            home |= {n for n, head in until if head.header.origin_customer_id == undone.to and home_of(head.header, key) == key}
    return Apart(frozenset(out), frozenset(stale), frozenset(home - out))


def _said_here(event: object, undone: IdentityUnlinked) -> bool:
    """Tell whether something was said, under the customer to whom another one was linked, because of that link."""
    if isinstance(event, ClockMoved):
        return undone.from_ in {event.origin, event.home}
    return isinstance(event, IdentityCopied | IdentityLinked) and _pair(event) == _pair(undone)


def _said_of_itself(event: object, undone: IdentityUnlinked) -> bool:
    """Tell whether a link of the customer to another one is undone: this one, and all before it unless it goes back to one of those."""
    if not isinstance(event, IdentityLinked) or event.from_ != undone.from_ or event.turn > undone.turn:
        return False
    return not undone.back or event.to == undone.to


def _pair(event: IdentityCopied | IdentityLinked | IdentityUnlinked) -> tuple[str, str]:
    return event.from_, event.to
