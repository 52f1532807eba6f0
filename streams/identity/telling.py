"""What is told of links, as records of the log: `identity.linked`, `.copied`, `.unlinked`, `.merge_proposed`, `.merge_rejected`. Values only.

Ids follow from what is told and never from who tells it or when: whoever tells it again says the same, and readers take it once.
What is told is all that claims and pairs are made of, so that a log can be heard again without them (`hearing.py`).
"""

from typing import Final
from uuid import UUID, uuid5

from projections.kernel import Subject
from schemas.events import Handle, Header, IdentityCopied, IdentityLinked, IdentityMergeProposed, IdentityMergeRejected, IdentityUnlinked
from schemas.record import Event
from streams.identity.claim import Claim, Name
from streams.identity.pairs import Pair

__all__ = ["ERASED", "OPERATOR", "SOURCE", "TOO_LONG", "TWO_ACCOUNTS", "Told", "copied", "linked", "proposed", "rejected", "unlinked"]

SOURCE: Final = "/touchline/identity"

OPERATOR: Final = "operator"
"""The evidence of what a person decided."""

TWO_ACCOUNTS: Final = "two_accounts"
"""Why a person must decide about a pair: both own an account."""

TOO_LONG: Final = "history_too_long"
"""Why a link is undone, or not made: there are too many records to be copied."""

ERASED: Final = "erased"
"""Why somebody is unlinked from a customer who was erased: nobody decided that."""

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
        handle=_handle_of(claim.name),
        from_=claim.own,
        to=claim.customer,
        evidence=claim.evidence,
        turn=before,
        via=claim.via,
        root=None if claim.root is None else _handle_of(claim.root),
    )


def copied(run: str, subject: Subject, *, home: str, to: str, last_offset: int, at_us: int, write_ts_us: int) -> IdentityCopied:
    """Return what is told under `to` of a run of copies from `subject`, once all are there; `run` names it among those of these customers."""
    name = f"copied\0{subject.tenant}\0{subject.id}\0{home}\0{to}\0{run}"
    header = Header(
        id=str(uuid5(_NAMESPACE, name)),
        source=SOURCE,
        tenant=subject.tenant,
        occurred_at_us=at_us,
        received_at_us=at_us,
        customer_id=to,
        home_customer_id=to,
        actor_kind="system",
    )
    return IdentityCopied(header=header, from_=subject.id, home=home, to=to, last_offset=last_offset, write_ts_us=write_ts_us)


def unlinked(claim: Claim, customer: str, *, reason: str, back: str = "") -> Told:
    """Return what is told, under `customer` alone, of a claim that was just released from it, or went `back` to another one."""
    before = claim.turn - 1
    header = _header(claim, customer, f"unlinked\0{_handle(claim)}\0{before}\0{customer}", claim.linked_at_us, "")
    return customer, IdentityUnlinked(
        header=header,
        from_=claim.own,
        to=customer,
        turn=before,
        reason=reason,
        back=back,
        handle=_handle_of(claim.name),
        evidence=claim.evidence,
    )


def proposed(pair: Pair, one: Claim, target: Claim) -> list[Told]:
    """Return what is told of a pair that a person must decide: `one` would be linked to `target`. Both by their home handles."""
    name = f"proposed\0{pair.tenant}\0{pair.customer}\0{pair.other}"
    return [
        (
            key,
            IdentityMergeProposed(
                header=_header(one, key, name, pair.changed_us, pair.evidence),
                from_=one.own,
                to=target.own,
                evidence=pair.evidence,
                handle=_handle_of(one.name),
                root=_handle_of(target.name),
                reason=pair.reason,
            ),
        )
        for key in (target.own, one.own)
    ]


def rejected(pair: Pair, one: Claim, target: Claim) -> list[Told]:
    """Return what is told of a pair of whom a person said that they are two."""
    name = f"rejected\0{pair.tenant}\0{pair.customer}\0{pair.other}\0{pair.changed_us}"
    return [
        (key, IdentityMergeRejected(header=_header(one, key, name, pair.changed_us, ""), from_=one.own, to=target.own, reason=pair.reason))
        for key in (target.own, one.own)
    ]


def _handle_of(name: Name) -> Handle:
    return Handle(kind=name.kind, hash=name.hash)


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
