"""What is told of links, as records of the log: `identity.linked`, `.unlinked`, `.merge_proposed`, `.merge_rejected`. Values only.

Ids follow from what is told and never from who tells it or when: whoever tells it again says the same, and readers take it once.
"""

from typing import Final
from uuid import UUID, uuid5

from schemas.events import Handle, Header, IdentityLinked, IdentityMergeProposed, IdentityMergeRejected, IdentityUnlinked
from schemas.record import Event
from streams.identity.claim import Claim
from streams.identity.pairs import Pair

__all__ = ["OPERATOR", "SOURCE", "Told", "linked", "proposed", "rejected", "unlinked"]

SOURCE: Final = "/touchline/identity"

OPERATOR: Final = "operator"
"""The evidence of what a person decided."""

_NAMESPACE: Final = UUID("8f1f2a52-6a0e-5a39-9a53-3f6b0d7b1c11")

Told = tuple[str, Event]
"""A record and the key under which it is appended."""


def linked(claim: Claim) -> list[Told]:
    """Return what is told of a claim that links a handle to a root: the same under both customers."""
    return [(key, _linked(claim, key)) for key in (claim.customer, claim.own)]


def _linked(claim: Claim, key: str) -> IdentityLinked:
    before = claim.turn - 1
    return IdentityLinked(
        header=_header(claim, key, f"linked\0{_handle(claim)}\0{before}", claim.linked_at_us, claim.evidence),
        handle=Handle(kind=claim.name.kind, hash=claim.name.hash),
        from_=claim.own,
        to=claim.customer,
        evidence=claim.evidence,
        turn=before,
        via=claim.via,
    )


def unlinked(claim: Claim, customer: str, *, reason: str, back: str = "") -> Told:
    """Return what is told, under `customer` alone, of a claim that was just released from it, or went `back` to another one."""
    before = claim.turn - 1
    header = _header(claim, customer, f"unlinked\0{_handle(claim)}\0{before}\0{customer}", claim.linked_at_us, "")
    return customer, IdentityUnlinked(header=header, from_=claim.own, to=customer, turn=before, reason=reason, back=back)


def proposed(pair: Pair, one: Claim, target: Claim) -> list[Told]:
    """Return what is told of a pair that a person must decide: `one` would be linked to `target`. Both by their home handles."""
    name = f"proposed\0{pair.tenant}\0{pair.customer}\0{pair.other}"
    return [
        (
            key,
            IdentityMergeProposed(
                header=_header(one, key, name, pair.changed_us, pair.evidence), from_=one.own, to=target.own, evidence=pair.evidence
            ),
        )
        for key in (target.own, one.own)
    ]


def rejected(pair: Pair, one: Claim, target: Claim) -> list[Told]:
    """Return what is told of a pair of whom a person said that they are two."""
    name = f"rejected\0{pair.tenant}\0{pair.customer}\0{pair.other}\0{pair.changed_us}"
    return [
        (key, IdentityMergeRejected(header=_header(one, key, name, pair.changed_us, ""), from_=one.own, to=target.own))
        for key in (target.own, one.own)
    ]


def _handle(claim: Claim) -> str:
    return "\0".join(claim.name.key)


def _header(claim: Claim, key: str, name: str, at_us: int, evidence: str) -> Header:
    return Header(
        id=str(uuid5(_NAMESPACE, name)),
        source=SOURCE,
        tenant=claim.name.tenant,
        occurred_at_us=at_us,
        received_at_us=at_us,
        customer_id=key,
        home_customer_id=key,
        causation_id=evidence if evidence and evidence != OPERATOR else None,
    )
