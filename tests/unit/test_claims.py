"""What claims and pairs keep to over any store. Here in memory; `tests/integration/test_claims_conformance.py` runs it on Cassandra too."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import uuid4

import pytest

from schemas.events import HandleKind
from streams.identity.claim import Claim, Name, order
from streams.identity.claims import Claims
from streams.identity.pairs import Pairs, Proposal
from streams.store.port import Store
from tests.support.linking import identity_store
from touchline.errors import TouchlineError

NOW_US = 1_768_000_000_000_000


class ClaimsBench:
    """Claims of a tenant of its own. `run` runs a call in the loop that the store lives in."""

    def __init__(self, store: Store, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self.store = store
        self.run = run
        self.tenant = f"t-{uuid4().hex[:12]}"
        self.claims = Claims(store, lambda: NOW_US)
        self.pairs = Pairs(store, lambda: NOW_US)

    def name(self, kind: HandleKind, number: int = 1) -> Name:
        return Name(self.tenant, kind, bytes([number]) * 32)

    def claim(self, kind: HandleKind, number: int = 1) -> Claim:
        found = self.run(self.claims.one(self.name(kind, number)))
        assert isinstance(found, Claim)
        return found

    def link(self, one: Claim, root: Claim, via: str = "") -> Claim | None:
        found = self.run(self.claims.link(one, root, via=via, evidence="e-1"))
        assert found is None or isinstance(found, Claim)
        return found


@pytest.fixture
def claims_bench() -> ClaimsBench:
    return ClaimsBench(identity_store(), asyncio.run)


def test_a_handle_that_nobody_linked_is_its_own(claims_bench: ClaimsBench) -> None:
    claim = claims_bench.claim("phone")
    assert (claim.customer, claim.generation, claim.turn, claim.exists, claim.is_pending) == ("", 0, 0, False, False)
    way = claims_bench.run(claims_bench.claims.follow([claim.name]))[claim.name]
    assert way.claims == (claim,)
    assert way.is_whole


def test_of_two_who_link_a_handle_at_once_one_is_told_that_it_was_late(claims_bench: ClaimsBench) -> None:
    cookie, mail, phone = claims_bench.claim("cookie"), claims_bench.claim("email"), claims_bench.claim("phone")
    assert claims_bench.link(cookie, mail) is not None
    assert claims_bench.link(cookie, phone) is None
    assert claims_bench.claim("cookie").customer == mail.own
    again = claims_bench.claim("cookie")
    assert claims_bench.link(again, phone) is not None
    assert claims_bench.link(again, phone) is None


def test_a_link_stands_as_it_was_made(claims_bench: ClaimsBench) -> None:
    mail, phone = claims_bench.claim("email"), claims_bench.claim("phone")
    made = claims_bench.link(mail, phone, "someone")
    read = claims_bench.claim("email")
    assert made == read
    assert (read.customer, read.root, read.via, read.evidence, read.turn) == (phone.own, phone.name, "someone", "e-1", 1)
    assert read.linked_at_us == NOW_US
    assert read.is_pending
    assert claims_bench.run(claims_bench.claims.announce(read))
    assert not claims_bench.claim("email").is_pending


def test_a_link_never_leads_to_a_handle_that_comes_later(claims_bench: ClaimsBench) -> None:
    mail, phone = claims_bench.claim("email"), claims_bench.claim("phone")
    assert order(phone.name) < order(mail.name)
    for one, root in [(phone, mail), (mail, mail)]:
        with pytest.raises(TouchlineError, match="comes after"):
            claims_bench.link(one, root)


def test_members_are_those_whose_claims_say_so(claims_bench: ClaimsBench) -> None:
    """The way back is a list of candidates: who was linked on since is none of them any more."""
    account, phone = claims_bench.claim("account"), claims_bench.claim("phone")
    mails = [claims_bench.claim("email", number) for number in (1, 2, 3)]
    for mail in mails:
        claims_bench.link(mail, phone)
    claims_bench.link(claims_bench.claim("email", 2), account)
    members = claims_bench.run(claims_bench.claims.members(claims_bench.tenant, phone.own))
    assert [member.name for member in members] == [mails[0].name, mails[2].name]
    assert claims_bench.run(claims_bench.claims.home(claims_bench.tenant, phone.own)).name == phone.name
    assert claims_bench.run(claims_bench.claims.home(claims_bench.tenant, mails[0].own)).name == mails[0].name
    assert claims_bench.run(claims_bench.claims.home(claims_bench.tenant, "nobody")) is None


def test_a_way_is_followed_to_its_end_and_not_whole_if_it_is_long(claims_bench: ClaimsBench) -> None:
    account, phone, mail = claims_bench.claim("account"), claims_bench.claim("phone"), claims_bench.claim("email")
    claims_bench.link(mail, phone)
    claims_bench.link(phone, account)
    way = claims_bench.run(claims_bench.claims.follow([mail.name, account.name]))[mail.name]
    assert [claim.name for claim in way.claims] == [mail.name, phone.name, account.name]
    assert not way.is_whole


def test_of_a_very_long_way_the_beginning_is_followed(claims_bench: ClaimsBench) -> None:
    ordered = sorted((claims_bench.claim("cookie", number) for number in range(1, 15)), key=lambda claim: order(claim.name))
    for one, root in zip(ordered[1:], ordered, strict=False):
        claims_bench.link(one, root)
    way = claims_bench.run(claims_bench.claims.follow([ordered[-1].name]))[ordered[-1].name]
    assert way.is_cut
    assert not way.is_whole
    assert len(way.claims) == 9


def test_a_released_handle_is_its_own_and_remembers_from_whom_until_it_is_announced(claims_bench: ClaimsBench) -> None:
    mail, phone = claims_bench.claim("email"), claims_bench.claim("phone")
    claims_bench.link(mail, phone)
    released = claims_bench.run(claims_bench.claims.release(claims_bench.claim("email")))
    assert released == claims_bench.claim("email")
    assert (released.customer, released.via, released.turn, released.is_pending) == ("", phone.own, 2, True)
    assert released.linked_at_us == NOW_US + 1
    claims_bench.run(claims_bench.claims.announce(released))
    assert (claims_bench.claim("email").via, claims_bench.claim("email").is_pending) == ("", False)


def test_an_erased_handle_names_somebody_new_and_links_to_the_old_one_are_dead(claims_bench: ClaimsBench) -> None:
    mail, phone = claims_bench.claim("email"), claims_bench.claim("phone")
    claims_bench.link(mail, phone)
    erased = claims_bench.run(claims_bench.claims.erase(claims_bench.claim("phone"), NOW_US + 5))
    assert erased == claims_bench.claim("phone")
    assert (erased.generation, erased.erased_at_us, erased.is_pending) == (1, NOW_US + 5, False)
    assert erased.own != phone.own
    assert claims_bench.run(claims_bench.claims.erase(phone, NOW_US + 6)) is None
    way = claims_bench.run(claims_bench.claims.follow([mail.name]))[mail.name]
    assert way.is_dead
    assert not way.is_whole


def test_a_pair_is_found_from_both_sides_and_changed_by_one_at_a_time(claims_bench: ClaimsBench) -> None:
    tenant, pairs, run = claims_bench.tenant, claims_bench.pairs, claims_bench.run
    assert run(pairs.read(tenant, "b", "a")) is None
    made = run(pairs.put(None, tenant, "b", "a", "open", reason="two_accounts", evidence="e-1"))
    assert (made.customer, made.other, made.state) == ("a", "b", "open")
    assert run(pairs.put(None, tenant, "a", "b", "open", reason="two_accounts")) is None
    assert run(pairs.read(tenant, "b", "a")) == run(pairs.read(tenant, "a", "b")) == made
    assert run(pairs.of(tenant, ["a"])) == run(pairs.of(tenant, ["b"])) == [made]
    decided = run(pairs.put(made, tenant, "a", "b", "rejected", reason="two_people", actor="lena"))
    assert decided.state == "rejected"
    assert run(pairs.put(made, tenant, "a", "b", "accepted", reason="late")) is None
    assert run(pairs.decided(tenant, ["x", "b"], ["a", "y"])) == ("rejected", (1, 1))
    assert run(pairs.decided(tenant, ["x", "b"], ["y"])) == ("", (1, 0))


def test_a_proposal_is_there_until_it_is_decided_and_does_not_come_back(claims_bench: ClaimsBench) -> None:
    tenant, pairs, run = claims_bench.tenant, claims_bench.pairs, claims_bench.run
    one, other = claims_bench.claim("account", 1), claims_bench.claim("account", 2)
    pair = run(pairs.put(None, tenant, one.own, other.own, "open", reason="two_accounts", evidence="e-1"))
    run(pairs.propose(pair, one, other))
    [proposal] = run(pairs.proposals(tenant, 100))
    assert {proposal.customer: proposal.hash, proposal.other: proposal.other_hash} == {one.own: one.name.key[2], other.own: other.name.key[2]}
    assert (proposal.reason, proposal.evidence, proposal.kind) == ("two_accounts", "e-1", "account")
    run(pairs.settle(run(pairs.put(pair, tenant, one.own, other.own, "rejected", reason="two_people"))))
    run(pairs.propose(pair, one, other))
    assert run(pairs.proposals(tenant, 100)) == []


def test_proposals_are_read_in_portions_and_by_whom_they_name(claims_bench: ClaimsBench) -> None:
    tenant, pairs, run = claims_bench.tenant, claims_bench.pairs, claims_bench.run
    claims = sorted((claims_bench.claim("account", n) for n in range(4)), key=lambda claim: claim.own)
    for first, second in ((0, 1), (0, 3), (1, 2), (2, 3)):
        one, other = claims[first], claims[second]
        run(pairs.propose(run(pairs.put(None, tenant, one.own, other.own, "open", reason="two_accounts")), one, other))

    def named(proposals: list[Proposal]) -> list[tuple[int, int]]:
        own = [claim.own for claim in claims]
        return [(own.index(one.customer), own.index(one.other)) for one in proposals]

    assert named(begun := run(pairs.proposals(tenant, 2))) == [(0, 1), (0, 3)]
    assert named(run(pairs.proposals(tenant, 1, after=begun[0]))) == [(0, 3)]
    assert named(run(pairs.proposals(tenant, 9, after=begun[1]))) == [(1, 2), (2, 3)]
    assert named(run(pairs.proposals_of(tenant, [claims[1].own]))) == [(0, 1), (1, 2)]
    assert named(run(pairs.proposals_of(tenant, [claims[3].own, claims[0].own]))) == [(0, 1), (0, 3), (2, 3)]
    assert run(pairs.proposals_of(tenant, ["nobody"])) == []
