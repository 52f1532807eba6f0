"""What the log says of links, their ends, decisions and erasures, heard as the rows that it came from: the inverse of `telling.py`.

    identity.linked       claim: linked, announced if it lies under the one who is linked; the way back; accepted, if a person linked them
    identity.unlinked     claim: its own again; the pair rejected, if somebody decided it
    privacy.erased        claims of all handles: nobody's, the generation after; the way back ends
    merge_proposed        the pair open (or, after a link that was undone, rejected), and a proposal
    merge_rejected        the pair rejected

`joined` puts together what is heard of one handle in whatever order, and however often. Values only: knows no store and no file.
"""

from typing import Final, NamedTuple

import msgspec

from schemas.events import Handle, Header, IdentityLinked, IdentityMergeProposed, IdentityMergeRejected, IdentityUnlinked, PrivacyErased
from schemas.handles import customer_id
from streams.control_topic import handles_of
from streams.identity.claim import Claim, Name
from streams.identity.claims import way_back
from streams.identity.pairs import Pair, PairState, pair_key
from streams.identity.telling import ERASED, OPERATOR
from streams.store.port import RowWrite

__all__ = ["HEARD", "Heard", "Saying", "heard", "joined"]

GENERATIONS_MAX: Final = 1000
"""So often one handle's persons may have been erased, before the generation of a customer's id is no longer looked for."""

Saying = IdentityLinked | IdentityUnlinked | IdentityMergeProposed | IdentityMergeRejected | PrivacyErased
HEARD: Final = (IdentityLinked, IdentityUnlinked, IdentityMergeProposed, IdentityMergeRejected, PrivacyErased)
"""The types of events that say something of claims, pairs or proposals."""


class Heard(NamedTuple):
    """What one event says. `ways` are rows of the way back. `proposed` are the home claims of the pair, if a person must decide about it."""

    claims: tuple[Claim, ...] = ()
    ways: tuple[RowWrite, ...] = ()
    pair: Pair | None = None
    proposed: tuple[Claim, Claim] | None = None


def heard(event: Saying) -> Heard | None:
    """Return what an event says; None if it names a handle in no way that leads to its customer."""
    match event:
        case IdentityLinked():
            return _linked(event)
        case IdentityUnlinked():
            return _unlinked(event)
        case IdentityMergeProposed():
            return _proposed(event)
        case IdentityMergeRejected():
            return Heard(pair=_pair(event, "rejected", reason=event.reason, evidence=OPERATOR, event_id=event.header.id))
        case PrivacyErased():
            return _erased(event)


def joined(one: Claim, other: Claim) -> Claim:
    """Return what two accounts of one handle come to. The order of hearing makes no difference, nor does hearing twice.

    The later turn of the later generation says whose it is. An erasure is a turn of its own, and does not say which: so the links and
    their ends are counted, of whatever generation, and the generations added.
    """
    last = max(one, other, key=lambda claim: (claim.generation, claim.turn, claim.announced))
    turns = max(claim.turn - claim.generation for claim in (one, other))
    return msgspec.structs.replace(
        last,
        turn=turns + last.generation,
        linked_at_us=max(one.linked_at_us, other.linked_at_us),
        erased_at_us=max(one.erased_at_us, other.erased_at_us),
    )


def _linked(event: IdentityLinked) -> Heard | None:
    claim = _claim(event.header, event.handle, event.from_)
    if claim is None or event.root is None:
        return None
    at_us, root = event.header.occurred_at_us, _name(event.header, event.root)
    linked = msgspec.structs.replace(
        claim,
        customer=event.to,
        root=root,
        announced=event.header.customer_id == event.from_,  # it is told under the root first
        turn=event.turn + 1,
        via=event.via,
        evidence=event.evidence,
        linked_at_us=at_us,
    )
    ways = ((event.to, claim.name), (event.to, root), (event.from_, claim.name))
    decided = event.evidence == OPERATOR and not event.via
    return Heard(
        (linked,),
        tuple(way_back(customer, name, at_us) for customer, name in ways),
        _pair(event, "accepted", reason="", evidence=OPERATOR) if decided else None,
    )


def _unlinked(event: IdentityUnlinked) -> Heard | None:
    if event.back:  # the link to whom it went back is told by itself, of the same turn
        return Heard()
    claim = None if event.handle is None else _claim(event.header, event.handle, event.from_)
    if claim is None:
        return None
    ended = msgspec.structs.replace(claim, announced=True, turn=event.turn + 1, evidence=event.evidence, linked_at_us=event.header.occurred_at_us)
    return Heard((ended,), pair=None if event.reason == ERASED else _pair(event, "rejected", reason=event.reason, evidence=""))


def _proposed(event: IdentityMergeProposed) -> Heard | None:
    if event.handle is None or event.root is None:
        return None
    one, target = Claim(name=_name(event.header, event.handle), own=event.from_), Claim(name=_name(event.header, event.root), own=event.to)
    state: PairState = "open" if event.evidence else "rejected"  # nothing speaks for a link that was undone, since it cannot be carried out
    return Heard(pair=_pair(event, state, reason=event.reason, evidence=event.evidence, event_id=event.header.id), proposed=(one, target))


def _erased(event: PrivacyErased) -> Heard:
    at_us, tenant = event.header.occurred_at_us, event.header.tenant
    named = [(Name(tenant, *handle), event.handles[handle.name]) for handle in handles_of(event.handles)]
    claims = [
        Claim(name=name, own=customer_id(*name, generation), generation=generation, turn=generation, erased_at_us=at_us) for name, generation in named
    ]
    return Heard(tuple(claims), tuple(way_back(event.customer, name, at_us, erased=True) for name, _ in named))


def _claim(header: Header, handle: Handle, own: str) -> Claim | None:
    """Return the claim of a handle of which only its own customer is known; None if no generation of it is that customer."""
    name = _name(header, handle)
    generation = next((number for number in range(GENERATIONS_MAX) if customer_id(*name, number) == own), None)
    return None if generation is None else Claim(name=name, own=own, generation=generation)


def _name(header: Header, handle: Handle) -> Name:
    return Name(header.tenant, handle.kind, handle.hash)


def _pair(
    event: IdentityLinked | IdentityUnlinked | IdentityMergeProposed | IdentityMergeRejected,
    state: PairState,
    *,
    reason: str,
    evidence: str,
    event_id: str = "",
) -> Pair:
    tenant, customer, other = pair_key(event.header.tenant, event.from_, event.to)
    at_us = event.header.occurred_at_us
    return Pair(tenant=tenant, customer=customer, other=other, state=state, reason=reason, evidence=evidence, event_id=event_id, changed_us=at_us)
