import msgspec

from schemas.codec import Codec, Head
from schemas.events import AgentLoggedIn, Handle, Header, MessageReceived
from schemas.handles import customer_id
from streams.resolving import Resolved, Resolver, Unresolvable

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


def resolve(head: Header) -> Resolved | Unresolvable:
    """Resolve a message."""
    return RESOLVER.resolve(CODEC.encode(MessageReceived(header=head, sealed=b"x", sealed_key="k")), NOW_US)


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
