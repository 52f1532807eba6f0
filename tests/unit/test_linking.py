"""Linking, one step after the other: who stays, what is told, and what stands against it. Who dies in between: `test_linking_killed.py`."""

from typing import Any

from schemas.events import Handle, IdentityLinked, IdentityMergeProposed, IdentityMergeRejected, IdentityUnlinked
from schemas.handles import customer_id
from streams.identity import telling
from streams.identity.claim import Name
from streams.identity.claims import Claims
from streams.store.memory import MemoryStore
from tests.support.identity_invariants import roots_of, wrong_claims, wrong_records
from tests.support.linking import TENANT, Log, Process, handle, identity_store, run

ACCOUNT, OTHER_ACCOUNT = handle("account", 1), handle("account", 2)
PHONE, MAIL, COOKIE = handle("phone", 1, verified=True), handle("email", 1), handle("cookie", 1)


def name(one: Handle) -> Name:
    return Name(TENANT, one.kind, one.hash)


def own(one: Handle, generation: int = 0) -> str:
    return customer_id(TENANT, one.kind, one.hash, generation)


def root(store: MemoryStore, one: Handle) -> str:
    """Return whose a handle is, by the tables alone."""
    return roots_of(run(store.scan("identity"))).get((TENANT, one.kind, one.hash.hex()), own(one))


def whole(store: MemoryStore, log: Log, *, by_people: bool = False) -> None:
    """Fail unless everything is as it must be at rest."""
    claims = run(store.scan("identity"))
    assert wrong_claims(claims, run(store.scan("identities_by_customer")), per_kind_max=10, by_people=by_people) == []
    assert wrong_records(claims, log.records) == []


class Bench:
    """A store, a log and one resolver that is asked event by event."""

    def __init__(self, *, most: int = 10) -> None:
        self.store, self.log = identity_store(), Log()
        self.process = Process(self.store, self.log, stepping=False, most=most)
        self._events = 0

    def event(self, *handles: Handle) -> str:
        """Resolve an event; return under whom it went."""
        self._events += 1
        return str(run(self.process.resolve(f"e-{self._events}", handles)))

    def decide(self, what: str, *handles: Handle) -> str:
        """Decide as a person does; return why it was refused."""
        return str(run(self.process.decide(what, [name(one) for one in handles])))

    def told(self, kind: type) -> list[tuple[str, Any]]:
        """Return (key, event) of the log's records of a kind."""
        return [(key, event) for key, event in self.log.records if isinstance(event, kind)]


def test_an_event_with_two_handles_links_the_later_one_to_the_earlier_and_says_so_under_both() -> None:
    bench = Bench()
    assert bench.event(MAIL) == own(MAIL)
    assert bench.event(MAIL, PHONE) == own(PHONE)
    assert bench.event(MAIL) == own(PHONE)
    [(to, linked), (at, same)] = bench.told(IdentityLinked)
    assert {to, at} == {own(PHONE), own(MAIL)}
    assert (linked.from_, linked.to, linked.handle, linked.turn, linked.evidence) == (own(MAIL), own(PHONE), MAIL, 0, "e-2")
    assert linked.header.id == same.header.id
    assert linked.header.causation_id == "e-2"
    assert bench.process.outcomes == ["linked"]
    whole(bench.store, bench.log)


def test_the_home_stays_the_handle_s_own_customer_and_the_key_is_the_root() -> None:
    bench = Bench()
    bench.event(MAIL, ACCOUNT)
    bench.event(MAIL)
    key, event = bench.log.records[-1]
    assert (key, event.header.customer_id, event.header.home_customer_id) == (own(ACCOUNT), own(ACCOUNT), own(MAIL))


def test_who_stays_does_not_depend_on_what_was_verified() -> None:
    """A verified mail names an event before an unverified phone; the phone's customer stays all the same, whatever other events say."""
    bench = Bench()
    verified, bare = handle("email", 1, verified=True), handle("phone", 1)
    assert bench.event(verified, bare) == own(bare)
    assert bench.log.records[-1][1].header.home_customer_id == own(verified)


def test_whoever_came_to_a_customer_who_was_linked_on_meanwhile_comes_along_when_one_of_them_is_met() -> None:
    """Who linked them had not seen it yet, and brought a handle along that no event of its own names."""
    bench = Bench()
    bench.event(COOKIE, MAIL)
    claims = Claims(bench.store)
    mail, cookie, phone = (run(claims.one(name(one))) for one in (MAIL, COOKIE, PHONE))
    bench.event(PHONE, ACCOUNT)
    run(claims.link(mail, phone, via=phone.own, evidence="e"))
    linked = run(claims.link(cookie, phone, via=mail.own, evidence="e"))
    assert linked is not None
    for key, event in telling.linked(linked):
        bench.log.records.append((key, event))
    run(claims.announce(linked))
    assert bench.event(MAIL, PHONE) == own(ACCOUNT)
    assert {root(bench.store, one) for one in (COOKIE, MAIL, PHONE)} == {own(ACCOUNT)}
    whole(bench.store, bench.log)


def test_whoever_was_linked_to_a_customer_comes_along_with_it() -> None:
    bench = Bench()
    bench.event(COOKIE, MAIL)
    bench.event(MAIL, ACCOUNT)
    assert root(bench.store, COOKIE) == root(bench.store, MAIL) == own(ACCOUNT)
    along = [event for key, event in bench.told(IdentityLinked) if event.from_ == own(COOKIE) and key == own(COOKIE)]
    assert [(event.to, event.turn, event.via) for event in along] == [(own(MAIL), 0, ""), (own(ACCOUNT), 1, own(MAIL))]
    whole(bench.store, bench.log)


def test_two_who_both_own_an_account_are_proposed_once_and_not_linked() -> None:
    bench = Bench()
    bench.event(ACCOUNT, PHONE)
    for _ in range(3):
        assert bench.event(PHONE, OTHER_ACCOUNT) == own(min((ACCOUNT, OTHER_ACCOUNT), key=lambda one: one.hash)) or own(OTHER_ACCOUNT)
    assert root(bench.store, OTHER_ACCOUNT) == own(OTHER_ACCOUNT)
    proposals = bench.told(IdentityMergeProposed)
    assert {key for key, _ in proposals} == {own(ACCOUNT), own(OTHER_ACCOUNT)}
    assert len(proposals) == 2
    [proposal] = run(bench.process.linker.pairs.proposals(TENANT, 100))
    assert {proposal.customer, proposal.other} == {own(ACCOUNT), own(OTHER_ACCOUNT)}
    assert proposal.evidence == "e-2"
    whole(bench.store, bench.log)


def test_an_event_whose_handles_stay_two_customers_s_goes_by_its_strongest_one() -> None:
    bench = Bench()
    bench.event(ACCOUNT, PHONE)
    assert bench.event(OTHER_ACCOUNT, PHONE) in {own(ACCOUNT), own(OTHER_ACCOUNT)}
    first = min((ACCOUNT, OTHER_ACCOUNT), key=lambda one: one.hash)
    assert bench.event(OTHER_ACCOUNT, ACCOUNT) == own(first)


def test_a_customer_never_gets_more_handles_of_a_kind_than_the_limit() -> None:
    bench = Bench(most=3)
    cookies = [handle("cookie", n) for n in range(1, 6)]
    for cookie in cookies:
        bench.event(ACCOUNT, cookie)
    assert [root(bench.store, cookie) == own(ACCOUNT) for cookie in cookies] == [True, True, True, False, False]
    assert bench.process.outcomes == ["linked"] * 3 + ["too_many_handles"] * 2
    assert bench.event(cookies[4]) == own(cookies[4])


def test_two_customers_are_not_joined_halfway_where_one_kind_is_too_much() -> None:
    bench = Bench(most=3)
    for n in range(1, 3):
        bench.event(PHONE, handle("cookie", n))
        bench.event(ACCOUNT, handle("cookie", n + 10))
    bench.event(PHONE, ACCOUNT)
    assert root(bench.store, PHONE) == own(PHONE)
    assert {root(bench.store, handle("cookie", n)) for n in (1, 2)} == {own(PHONE)}
    assert bench.decide("merge", PHONE, ACCOUNT) == "too_many_handles"
    whole(bench.store, bench.log)


def test_an_event_that_alone_carries_too_many_handles_links_nobody() -> None:
    bench = Bench(most=3)
    many = [handle("email", n) for n in range(1, 5)]
    assert bench.event(*many) == own(min(many, key=lambda one: one.hash))
    assert bench.told(IdentityLinked) == []
    assert bench.event(many[0], many[1]) == own(many[0])
    assert root(bench.store, many[1]) == own(many[0])


def test_a_person_joins_two_account_owners_and_the_proposal_is_gone() -> None:
    bench = Bench()
    bench.event(ACCOUNT, OTHER_ACCOUNT)
    assert bench.decide("merge", OTHER_ACCOUNT, ACCOUNT) == ""
    assert root(bench.store, OTHER_ACCOUNT) == root(bench.store, ACCOUNT)
    assert run(bench.process.linker.pairs.proposals(TENANT, 100)) == []
    assert bench.told(IdentityLinked)[0][1].evidence == "operator"
    assert bench.decide("merge", OTHER_ACCOUNT, ACCOUNT) == "same_customer"
    whole(bench.store, bench.log, by_people=True)


def test_a_rejected_pair_is_never_linked_by_itself_nor_by_a_handle_that_came_since() -> None:
    bench = Bench()
    bench.event(MAIL)
    bench.event(PHONE)
    assert bench.decide("reject", MAIL, PHONE) == ""
    assert {key for key, _ in bench.told(IdentityMergeRejected)} == {own(MAIL), own(PHONE)}
    assert bench.event(MAIL, PHONE) == own(PHONE)
    assert root(bench.store, MAIL) == own(MAIL)
    bench.event(PHONE, ACCOUNT)
    bench.event(MAIL, COOKIE)
    bench.event(COOKIE, ACCOUNT)
    assert root(bench.store, COOKIE) == own(MAIL), "the mail's customer and the phone's are two, under whichever names"
    assert bench.decide("merge", MAIL, PHONE) == ""
    assert root(bench.store, COOKIE) == own(ACCOUNT)
    whole(bench.store, bench.log, by_people=True)


def test_an_unmerge_takes_a_customer_and_whoever_came_along_and_they_stay_away() -> None:
    bench = Bench()
    bench.event(COOKIE, MAIL)
    bench.event(MAIL, ACCOUNT)
    bench.event(PHONE, ACCOUNT)
    assert bench.decide("unmerge", MAIL) == ""
    assert [root(bench.store, one) for one in (COOKIE, MAIL, PHONE)] == [own(MAIL), own(MAIL), own(ACCOUNT)]
    undone = bench.told(IdentityUnlinked)
    assert [(key, event.from_, event.to, event.turn, event.back) for key, event in undone] == [
        (own(ACCOUNT), own(MAIL), own(ACCOUNT), 1, ""),
        (own(ACCOUNT), own(COOKIE), own(ACCOUNT), 2, own(MAIL)),
    ]
    assert [event.to for key, event in bench.told(IdentityLinked) if event.from_ == own(COOKIE) and key == own(COOKIE)][-1] == own(MAIL)
    assert bench.event(MAIL, ACCOUNT) == own(ACCOUNT)
    assert root(bench.store, MAIL) == own(MAIL)
    assert bench.decide("unmerge", MAIL) == "not_linked"
    whole(bench.store, bench.log)


def test_a_handle_that_came_by_another_one_goes_with_it() -> None:
    """The cookie was seen with the mail only; when the mail proves to be somebody else's, so does the cookie."""
    bench = Bench()
    bench.event(MAIL, ACCOUNT)
    bench.event(COOKIE, MAIL)
    bench.decide("unmerge", MAIL)
    assert root(bench.store, COOKIE) == own(MAIL)


def test_of_those_who_leave_together_the_first_leads() -> None:
    """The phone came along with the mail, and comes before it: it is the mail that is linked to the phone from here on."""
    bench = Bench()
    bench.event(MAIL, ACCOUNT)
    bench.event(MAIL, PHONE)
    bench.decide("unmerge", MAIL)
    assert root(bench.store, MAIL) == root(bench.store, PHONE) == own(PHONE)
    bench.event(MAIL, ACCOUNT)
    assert root(bench.store, MAIL) == own(PHONE), "a person said that they are two"
    whole(bench.store, bench.log)


def test_merged_again_by_a_person_after_an_unmerge() -> None:
    bench = Bench()
    bench.event(MAIL, ACCOUNT)
    bench.decide("unmerge", MAIL)
    assert bench.decide("merge", MAIL, ACCOUNT) == ""
    assert root(bench.store, MAIL) == own(ACCOUNT)
    assert sorted({event.turn for _, event in bench.told(IdentityLinked)}) == [0, 2]
    whole(bench.store, bench.log, by_people=True)


def test_a_person_who_returns_after_an_erasure_is_new() -> None:
    bench = Bench()
    bench.event(MAIL, ACCOUNT)
    claims = Claims(bench.store, lambda: 1_768_000_100_000_000)
    for one in run(claims.read([name(MAIL), name(ACCOUNT)])):
        run(claims.erase(one, 1_768_000_100_000_000))
    bench.process.restart()
    assert bench.event(MAIL) == own(MAIL, 1)
    assert bench.event(MAIL, ACCOUNT) == own(ACCOUNT, 1)
    assert bench.decide("unmerge", COOKIE) == "not_linked"


def test_a_link_to_somebody_who_was_erased_is_undone_when_it_is_met() -> None:
    """The root was erased while somebody linked the mail to it: the mail is its own again, and the erased customer's owner is told."""
    bench = Bench()
    bench.event(MAIL, ACCOUNT)
    claims = Claims(bench.store, lambda: 1_768_000_100_000_000)
    run(claims.erase(run(claims.one(name(ACCOUNT))), 1_768_000_100_000_000))
    bench.process.restart()
    assert bench.event(MAIL) == own(MAIL)
    assert [(key, event.from_) for key, event in bench.told(IdentityUnlinked)] == [(own(ACCOUNT), own(MAIL))]
    assert bench.event(MAIL, ACCOUNT) == own(ACCOUNT, 1)
    whole(bench.store, bench.log)


def test_an_unmerge_of_somebody_who_was_erased_is_refused() -> None:
    bench = Bench()
    bench.event(MAIL, ACCOUNT)
    claims = Claims(bench.store, lambda: 1_768_000_100_000_000)
    run(claims.erase(run(claims.one(name(MAIL))), 1_768_000_100_000_000))
    assert bench.decide("unmerge", MAIL) == "erased"
