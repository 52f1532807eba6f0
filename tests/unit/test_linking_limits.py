"""What is not linked because there is too much of it: handles that many share, and histories that are too long to be copied."""

from collections import Counter

import pytest

from schemas.events import Handle, IdentityLinked, IdentityMergeProposed, IdentityMergeRejected
from streams.identity.claim import Claim
from streams.identity.copying import COPIES_MAX
from streams.identity.linker import Length
from streams.identity.linking_rules import PAIRS_MAX
from streams.identity.telling import TOO_LONG
from tests.support.linking import TENANT, handle, run
from tests.unit.test_linking import COOKIE, MAIL, PHONE, Bench, name, own, root, whole
from touchline.errors import Refused


def test_a_phone_that_many_accounts_share_is_proposed_up_to_a_limit_and_people_may_still_decide() -> None:
    bench = Bench()
    accounts = sorted((handle("account", n) for n in range(1, PAIRS_MAX + 6)), key=lambda one: one.hash)
    bench.event(accounts[0], PHONE)
    for account in accounts[1:]:
        bench.event(PHONE, account)
    assert Counter(bench.process.outcomes) == {"linked": 1, "proposed": PAIRS_MAX, "shared": 4}
    assert len(run(bench.process.linker.pairs.proposals(TENANT, 100))) == PAIRS_MAX
    assert len(bench.told(IdentityMergeProposed)) == 2 * PAIRS_MAX
    bench.process.restart()
    bench.event(PHONE, accounts[1])
    assert bench.process.outcomes[-1] == "proposed", "what a person must decide stays so"
    assert bench.event(accounts[0], COOKIE) == own(accounts[0])
    assert root(bench.store, COOKIE) == own(accounts[0]), "who comes to it is linked as ever"
    assert bench.decide("merge", accounts[0], accounts[-1]) == ""
    assert root(bench.store, accounts[-1]) == own(accounts[0])
    whole(bench.store, bench.log, by_people=True)


def test_who_could_not_be_linked_to_many_others_is_linked_to_nobody_any_more() -> None:
    """The trunk line: its history is too long for every one of those who call from it."""
    bench = Bench()
    linker = bench.process.linker
    for n in range(1, PAIRS_MAX + 3):
        account = handle("account", n)
        bench.event(PHONE, account)
        if bench.process.outcomes[-1] == "linked":
            one, target = run(linker.claims.one(name(PHONE))), run(linker.claims.one(name(account)))
            assert run(linker.take_back(one, target, reason=TOO_LONG))
    assert bench.process.outcomes == ["linked"] * PAIRS_MAX + ["shared"] * 2
    assert root(bench.store, PHONE) == own(PHONE)
    whole(bench.store, bench.log)


@pytest.mark.parametrize("by_people", [False, True])
def test_a_link_that_cannot_be_carried_out_is_undone_and_proposed_whoever_made_it(by_people: bool) -> None:  # noqa: FBT001
    """Nothing was copied: left as it is, it would take back what is true."""
    bench = Bench()
    bench.event(MAIL, COOKIE)
    if by_people:
        assert bench.decide("merge", MAIL, PHONE) == ""
    else:
        bench.event(MAIL, PHONE)
    linker = bench.process.linker
    one, target = run(linker.claims.one(name(MAIL))), run(linker.claims.one(name(PHONE)))
    assert one.customer == target.own
    for _ in range(2):  # a worker that is killed does it again
        assert run(linker.take_back(one, target, reason=TOO_LONG))
    assert {root(bench.store, MAIL), root(bench.store, COOKIE)} == {own(MAIL)}
    assert bench.event(MAIL, PHONE) == own(PHONE)
    assert root(bench.store, MAIL) == own(MAIL)
    [proposal] = run(linker.pairs.proposals(TENANT, 100))
    assert ({proposal.customer, proposal.other}, proposal.reason) == ({own(MAIL), own(PHONE)}, TOO_LONG)
    assert {key for key, _ in bench.told(IdentityMergeProposed)} == {own(MAIL), own(PHONE)}
    assert bench.told(IdentityMergeRejected) == []
    for _ in range(2):
        assert bench.decide("reject", MAIL, PHONE) == ""
    assert run(linker.pairs.proposals(TENANT, 100)) == []
    assert {key for key, _ in bench.told(IdentityMergeRejected)} == {own(MAIL), own(PHONE)}
    assert len(bench.told(IdentityMergeRejected)) == 2
    pair = run(linker.pairs.read(TENANT, own(MAIL), own(PHONE)))
    assert (pair.state, pair.reason, pair.actor) == ("rejected", "two_people", "lena")
    whole(bench.store, bench.log, by_people=by_people)


def measured(of: Handle, records: int) -> Length:
    """Return what finds so many records of a handle's customer, and one of everybody else's."""

    async def length(one: Claim, target: Claim) -> int:
        del target
        return records if one.own == own(of) else 1

    return length


def test_whose_history_is_known_to_be_too_long_is_proposed_instead_of_linked() -> None:
    bench = Bench()
    bench.event(MAIL, COOKIE)
    bench.process.linker.length = measured(MAIL, COPIES_MAX + 1)
    for _ in range(3):
        assert bench.event(MAIL, PHONE) == own(PHONE)
    assert root(bench.store, MAIL) == own(MAIL)
    assert bench.process.outcomes == ["linked", "too_long"]
    [proposal] = run(bench.process.linker.pairs.proposals(TENANT, 100))
    assert ({proposal.customer, proposal.other}, proposal.reason) == ({own(MAIL), own(PHONE)}, TOO_LONG)
    assert {event.from_ for _, event in bench.told(IdentityLinked)} == {own(COOKIE)}
    bench.process.linker.length = measured(MAIL, COPIES_MAX)
    bench.process.restart()
    assert bench.event(MAIL, PHONE) == own(PHONE)
    assert root(bench.store, MAIL) == own(PHONE)
    whole(bench.store, bench.log)


def test_people_are_told_at_once_that_a_history_is_too_long_and_nothing_is_changed() -> None:
    """Also that of somebody who would come along."""
    for long in (MAIL, COOKIE):
        bench = Bench()
        bench.event(MAIL, COOKIE)
        bench.process.linker.length = measured(long, COPIES_MAX + 1)
        before = run(bench.store.scan("identity"))
        with pytest.raises(Refused) as refused:
            run(bench.process.deciding.planned_merge(name(PHONE), name(COOKIE)))
        assert refused.value.reason == TOO_LONG
        assert "has 2,001 records or more" in refused.value.what
        assert own(long) in refused.value.what
        assert run(bench.store.scan("identity")) == before
        assert run(bench.store.scan("identity_pair")) == []
