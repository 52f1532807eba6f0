"""Who may be linked to whom: values in, a word out. Knows no store, no log and no time."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Literal

import msgspec

from schemas.events import Handle
from streams.identity.claim import Claim, Name, order

__all__ = [
    "HANDLES_PER_KIND_MAX",
    "PAIRS_MAX",
    "Decided",
    "Linkable",
    "Verdict",
    "carries_too_many",
    "connected",
    "in_order",
    "named",
    "parent",
    "too_many_of",
    "verdict",
]

HANDLES_PER_KIND_MAX: Final = 10

PAIRS_MAX: Final = 50
"""Others with whom a customer may be taken for one by itself, and is not: whoever shares a handle with more shares it with everybody."""

Verdict = Literal["linked", "rejected", "proposed", "too_many_handles", "too_long", "shared"]
"""`linked`: they are to be. `rejected`: a person said that they are two. `proposed`: a person must say. `too_many_handles`: neither.

`too_long`: a link could not be carried out, for there are too many records to be copied; a person must say. `shared`: neither, for a handle
of one of them is many people's.
"""

Decided = Literal["", "open", "rejected", "accepted"]
"""What is known of a pair of customers: nothing, that a person must decide, or what was decided."""


class Linkable(msgspec.Struct, frozen=True, gc=False):
    """Handles of one record whose claims must be looked at: they are not one customer's, not known, or half linked.

    `evidence` is the record's id. If it `says_nothing` (it carries too many handles) they are looked at and never linked.
    """

    names: tuple[Name, ...]
    evidence: str
    says_nothing: bool = False


def verdict(one: Sequence[Claim], other: Sequence[Claim], decided: Decided, *, handles_per_kind_max: int, pairs: tuple[int, int] = (0, 0)) -> Verdict:
    """Return whether two customers are to be linked: each by the claims of all its handles, its home handle among them.

    `pairs` is of how many others it is known that they may be one with the first, and with the other.
    Two who both own an account are only linked by a person, who sees what a machine does not: one may be the other's child.
    """
    if decided == "rejected":
        return "rejected"
    if carries_too_many([claim.name.kind for claim in (*one, *other)], handles_per_kind_max):
        return "too_many_handles"
    if decided != "accepted" and all(any(claim.name.kind == "account" for claim in claims) for claims in (one, other)):
        return "proposed" if decided == "open" or max(pairs) < PAIRS_MAX else "shared"
    return "linked" if decided == "accepted" or pairs[0] < PAIRS_MAX else "shared"


def carries_too_many(kinds: Iterable[str], handles_per_kind_max: int) -> bool:
    """Tell whether there are more handles of one kind than one customer may have."""
    return max(Counter(kinds).values(), default=0) > handles_per_kind_max


def too_many_of(handles: Sequence[Handle], handles_per_kind_max: int) -> bool:
    """Tell whether one record alone carries more handles of a kind than one customer may have: then it says nothing about whose they are."""
    return len(handles) > handles_per_kind_max and carries_too_many((handle.kind for handle in handles), handles_per_kind_max)


def in_order(roots: Iterable[Claim]) -> list[Claim]:
    """Return roots in the order in which they stay: all others are to be linked to the first."""
    return sorted(roots, key=lambda claim: order(claim.name))


def parent(own: Collection[Claim], target: Claim) -> str:
    """Return through whom a root is tied to `target`, for the claims of the record's handles that are that one's.

    Empty if its home handle is among them: then it is a link of its own. Else it came along with the first of those handles, and goes with it.
    """
    if not own or any(claim.name == target.name for claim in own):
        return ""
    return min(own, key=lambda claim: order(claim.name)).own


def named(handles: Iterable[Handle], tenant: str) -> tuple[Name, ...]:
    """Return the names of a record's handles, each once."""
    return tuple(dict.fromkeys(Name(tenant, handle.kind, handle.hash) for handle in handles))


def connected(asked: Iterable[Linkable]) -> list[list[Linkable]]:
    """Put together what has a handle in common, directly or by way of others; each in the order in which it was asked."""
    leader: dict[Name, Name] = {}

    def led(name: Name) -> Name:
        while (above := leader.setdefault(name, name)) != name:
            leader[name] = leader[above]
            name = above
        return name

    asked = list(asked)
    for one in asked:
        for name in one.names:
            leader[led(name)] = led(one.names[0])
    found: dict[Name, list[Linkable]] = {}
    for one in asked:
        found.setdefault(led(one.names[0]), []).append(one)
    return list(found.values())
