"""What must be true of identities at rest, whatever happened: read from the tables and the log by code that shares nothing with the linker.

Takes rows as a store's `scan` gives them and records as (key, event) in the order of the log; returns what is wrong, in words.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid5

from schemas.events import IdentityLinked, IdentityUnlinked

__all__ = ["components", "customer_of", "links_between", "roots_of", "wrong_claims", "wrong_records"]

NAMES = UUID("6453a7e7-7878-54b3-b9f6-0c99b2a0a73a")
ORDER = ("account", "phone", "email", "social", "cookie", "session", "contact", "other")

Row = Mapping[str, Any]
Handle = tuple[str, str, str]
"""Tenant, kind, hash in hex: a row's key."""


def customer_of(handle: Handle, generation: int = 0) -> str:
    """Return the provisional customer of a handle."""
    tenant, kind, hashed = handle
    return str(uuid5(NAMES, f"{tenant}\0{kind}\0{hashed}\0{generation}"))


def handle_of(row: Row) -> Handle:
    return row["tenant"], row["kind"], row["hash"]


def roots_of(claims: Iterable[Row]) -> dict[Handle, str]:
    """Return whose each handle is that has a claim: its root customer, by following claims one by one."""
    rows = {handle_of(row): row for row in claims}
    found = {}
    for handle in rows:
        at, seen = handle, set()
        while at in rows and rows[at]["customer"]:
            if at in seen:
                raise AssertionError(f"claims go round in a circle at a {at[1]}")
            seen.add(at)
            at = (at[0], rows[at]["root_kind"], rows[at]["root_hash"])
        found[handle] = customer_of(at, (rows[at]["generation"] or 0) if at in rows else 0)
    return found


def wrong_claims(claims: Sequence[Row], back: Iterable[Row], *, per_kind_max: int | None = None, by_people: bool = False) -> list[str]:
    """Return what is wrong with the tables `identity` and `identities_by_customer` when nothing is under way."""
    rows = {handle_of(row): row for row in claims}
    ways_back = {(row["customer"], handle_of(row)) for row in back}
    wrong = []
    members: dict[str, list[Handle]] = defaultdict(list)
    for handle, row in rows.items():
        own = customer_of(handle, row["generation"] or 0)
        members[row["customer"] or own].append(handle)
        if row["customer"]:
            wrong += _wrong_link(handle, row, rows)
            if (row["customer"], handle) not in ways_back:
                wrong.append(f"the link of a {handle[1]} has no way back")
    for customer, handles in members.items():
        kinds = Counter(kind for _, kind, _ in {*handles, *(home for home in homes(handles, rows))})
        if per_kind_max is not None and max(kinds.values()) > per_kind_max:
            wrong.append(f"customer {customer} has {max(kinds.values())} handles of one kind")
        if kinds["account"] > 1 and not by_people:
            wrong.append(f"customer {customer} owns {kinds['account']} accounts")
    return wrong


def homes(handles: Iterable[Handle], rows: Mapping[Handle, Row]) -> set[Handle]:
    """Return the home handles of whoever these are linked to; it may have no row of its own."""
    return {(handle[0], rows[handle]["root_kind"], rows[handle]["root_hash"]) for handle in handles if rows[handle]["customer"]}


def _wrong_link(handle: Handle, row: Row, rows: Mapping[Handle, Row]) -> list[str]:
    """Return what is wrong with one link."""
    root = (handle[0], row["root_kind"], row["root_hash"])
    above = rows.get(root)
    wrong = []
    if (ORDER.index(root[1]), root[2]) >= (ORDER.index(handle[1]), handle[2]):
        wrong.append(f"a {handle[1]} is linked to a {root[1]} that does not come before it")
    if customer_of(root, (above["generation"] or 0) if above else 0) != row["customer"]:
        wrong.append(f"a {handle[1]} is linked to a customer that its root's handle does not name")
    if above is not None and above["customer"]:
        wrong.append(f"a {handle[1]} is linked to a {root[1]} that is linked on")
    if not row["announced"]:
        wrong.append(f"the link of a {handle[1]} was not announced")
    return wrong


def wrong_records(claims: Iterable[Row], records: Sequence[tuple[str, Any]]) -> list[str]:
    """Return what the log does not say of the claims as they are, or says otherwise: each link under both customers, the last one last."""
    told: dict[tuple[str, str, str, int], set[str]] = defaultdict(set)
    ids: dict[str, tuple[str, str, str, int]] = {}
    wrong = []
    for key, event in records:
        if isinstance(event, IdentityLinked | IdentityUnlinked):
            what = (event.TYPE, event.from_, event.to, event.turn)
            told[what].add(key)
            if event.header.customer_id != key:
                wrong.append(f"{event.TYPE} lies under another customer than its header names")
            if ids.setdefault(event.header.id, what) != what:
                wrong.append(f"two records {event.TYPE} share an id")
    undone = {(from_, turn) for kind, from_, _, turn in told if kind == IdentityUnlinked.TYPE}
    for row in claims:
        handle = handle_of(row)
        own = customer_of(handle, row["generation"] or 0)
        if not row["customer"] and row["turn"] and not row["erased_at"] and (own, row["turn"] - 1) not in undone:
            wrong.append(f"that a {handle[1]} was unlinked is not told")
        if row["customer"] and told[IdentityLinked.TYPE, own, row["customer"], row["turn"] - 1] != {own, row["customer"]}:
            wrong.append(f"the link of a {handle[1]} is not told under both customers")
    return wrong


def components(groups: Iterable[Iterable[Handle]]) -> dict[Handle, frozenset[Handle]]:
    """Return, of handles that were seen together, whoever belongs together with each."""
    of: dict[Handle, frozenset[Handle]] = {}
    for group in groups:
        together = frozenset(group).union(*(of.get(handle, frozenset()) for handle in group))
        for handle in together:
            of[handle] = together
    return of


def links_between(groups: Iterable[Iterable[Handle]]) -> dict[Handle, str]:
    """Return the root customer that each handle must come to where nothing stands against any link: that of the first handle of all of them."""
    return {handle: customer_of(min(together, key=lambda one: (ORDER.index(one[1]), one[2]))) for handle, together in components(groups).items()}
