import msgspec

from schemas.codec import Codec, Head
from schemas.events import AgentLoggedIn, Handle, Header, MessageReceived
from schemas.handles import customer_id
from streams.identity.claim import Claim, Name, Way
from streams.identity.roots import Roots
from streams.resolving import Linkable, Resolved, Resolver, Unresolvable

CODEC = Codec()
RESOLVER = Resolver(CODEC, future_max_s=300)
NOW_US = 1_768_000_000_000_000


def header(*handles: Handle, **changed: object) -> Header:
    """Return a header as a connector leaves it: nobody resolved yet."""
    base = Header(
        id="m-1",
        source="/mail",
        tenant="acme",
        channel="email",
        direction="inbound",
        occurred_at_us=NOW_US,
        received_at_us=NOW_US,
        handles=handles,
    )
    return msgspec.structs.replace(base, **changed)


PHONE = Handle(kind="phone", hash=b"p" * 32, verified=True)
ACCOUNT = Handle(kind="account", hash=b"a" * 32, verified=False)


def resolve(head: Header, resolver: Resolver = RESOLVER) -> Resolved | Linkable | Unresolvable:
    """Resolve a message."""
    return resolver.resolve(CODEC.encode(MessageReceived(header=head, sealed=b"x", sealed_key="k")), NOW_US)


def test_an_event_goes_to_the_customer_of_its_strongest_handle() -> None:
    """An account number is stronger than a verified phone, whatever their order."""
    found = resolve(header(PHONE, ACCOUNT))
    assert isinstance(found, Resolved)
    assert found.key == customer_id("acme", "account", ACCOUNT.hash)


def test_the_record_is_the_same_but_for_customer_and_home() -> None:
    found = resolve(header(PHONE))
    assert isinstance(found, Resolved)
    head = CODEC.head(found.value)
    assert isinstance(head, Head)
    assert head.header == header(PHONE, customer_id=found.key, home_customer_id=found.key)
    event = CODEC.body(head)
    assert isinstance(event, MessageReceived)
    assert event.sealed == b"x"


def test_events_of_agents_go_under_the_agent() -> None:
    event = AgentLoggedIn(header=header(actor_kind="agent", actor_id="lena"))
    found = RESOLVER.resolve(CODEC.encode(event), NOW_US)
    assert isinstance(found, Resolved)
    assert found.key == "agent:lena"


def test_what_names_nobody_is_set_aside_with_a_reason() -> None:
    found = resolve(header())
    assert isinstance(found, Unresolvable)
    assert found.reason == "no_subject"
    agent = RESOLVER.resolve(CODEC.encode(AgentLoggedIn(header=header(actor_kind="agent"))), NOW_US)
    assert isinstance(agent, Unresolvable)


def test_what_comes_from_the_future_is_set_aside() -> None:
    """Five minutes of clock difference are borne, not more."""
    assert isinstance(resolve(header(PHONE, occurred_at_us=NOW_US + 300_000_000)), Resolved)
    late = resolve(header(PHONE, occurred_at_us=NOW_US + 300_000_001))
    assert isinstance(late, Unresolvable)
    assert late.reason == "future_dated"


def test_bytes_that_are_no_event_are_set_aside_and_never_raise() -> None:
    for value in (b"", b"\x00", b"\x00\x00\x00\xff\xff", b"garbage", b"\x00\x00\x00\x00\x01" + b"\xff" * 50):
        found = RESOLVER.resolve(value, NOW_US)
        assert isinstance(found, Unresolvable)
        assert found.reason


def name(handle: Handle) -> Name:
    """Return a handle's name."""
    return Name("acme", handle.kind, handle.hash)


def knowing(*ways: tuple[Handle, Way]) -> Roots:
    """Return a memory that knows this of handles."""
    roots = Roots(clock_s=lambda: 0.0)
    roots.keep((name(handle), way) for handle, way in ways)
    return roots


def single(handle: Handle) -> tuple[Handle, Way]:
    """Return that a handle is its own."""
    return handle, Way((Claim.absent(name(handle)),))


def linked(handle: Handle, root: Handle, *, announced: bool = True) -> tuple[Handle, Way]:
    """Return that a handle is linked to another one's customer."""
    above = Claim.absent(name(root))
    claim = msgspec.structs.replace(Claim.absent(name(handle)), customer=above.own, root=above.name, announced=announced, turn=1)
    return handle, Way((claim, above))


def test_a_record_goes_to_the_root_and_keeps_its_own_home() -> None:
    found = resolve(header(PHONE), Resolver(CODEC, future_max_s=300, roots=knowing(linked(PHONE, ACCOUNT))))
    assert isinstance(found, Resolved)
    assert found.key == customer_id("acme", "account", ACCOUNT.hash)
    head = CODEC.head(found.value)
    assert isinstance(head, Head)
    assert (head.header.customer_id, head.header.home_customer_id) == (found.key, customer_id("acme", "phone", PHONE.hash))


def test_what_is_not_known_or_not_done_comes_back_with_the_handles_that_must_be_looked_at() -> None:
    for roots in (knowing(), knowing(single(ACCOUNT)), knowing(single(ACCOUNT), single(PHONE)), knowing(linked(PHONE, ACCOUNT, announced=False))):
        found = resolve(header(PHONE, ACCOUNT), Resolver(CODEC, future_max_s=300, roots=roots))
        assert found == Linkable((name(PHONE), name(ACCOUNT)), "m-1")
    found = resolve(header(PHONE), Resolver(CODEC, future_max_s=300, roots=knowing(linked(PHONE, ACCOUNT, announced=False))))
    assert isinstance(found, Linkable)


def test_handles_of_one_customer_or_of_two_who_stay_two_are_settled() -> None:
    agreed = knowing(linked(PHONE, ACCOUNT), single(ACCOUNT))
    assert isinstance(resolve(header(PHONE, ACCOUNT), Resolver(CODEC, future_max_s=300, roots=agreed)), Resolved)
    apart = knowing(single(PHONE), single(ACCOUNT))
    apart.set_apart(customer_id("acme", "phone", PHONE.hash), customer_id("acme", "account", ACCOUNT.hash))
    found = resolve(header(PHONE, ACCOUNT), Resolver(CODEC, future_max_s=300, roots=apart))
    assert isinstance(found, Resolved)
    assert found.key == customer_id("acme", "account", ACCOUNT.hash)


def test_a_record_that_carries_too_many_handles_says_nothing_about_whose_they_are() -> None:
    many = [Handle(kind="email", hash=bytes([number]) * 32) for number in range(4)]
    resolver = Resolver(CODEC, future_max_s=300, roots=knowing(*map(single, many)), handles_per_kind_max=3)
    assert isinstance(resolve(header(*many), resolver), Resolved)
    assert isinstance(resolve(header(*many[:3]), resolver), Linkable)
    unknown = resolve(header(*many), Resolver(CODEC, future_max_s=300, roots=knowing(), handles_per_kind_max=3))
    assert isinstance(unknown, Linkable)
    assert unknown.says_nothing
