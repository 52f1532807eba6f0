"""The memory of whose handles are: how long it is believed, and that it never grows."""

import msgspec

from schemas.events import HandleKind
from streams.identity.claim import Claim, Name, Way
from streams.identity.roots import LINKED_S, SINGLE_S, Roots


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def name(kind: HandleKind, number: int = 1) -> Name:
    return Name("acme", kind, bytes([number]) * 32)


def single(one: Name) -> tuple[Name, Way]:
    return one, Way((Claim.absent(one),))


def linked(one: Name, root: Name) -> tuple[Name, Way]:
    above = Claim.absent(root)
    return one, Way((msgspec.structs.replace(Claim.absent(one), customer=above.own, root=root, announced=True, turn=1), above))


def test_a_handle_that_is_its_own_is_looked_up_again_sooner_than_one_that_is_linked() -> None:
    clock = Clock()
    roots = Roots(clock_s=clock)
    mail, cookie = name("email"), name("cookie")
    roots.keep([single(mail), linked(cookie, name("phone"))])
    clock.now_s += SINGLE_S
    assert roots.stale([mail, cookie]) == []
    clock.now_s += 0.1
    assert roots.stale([mail, cookie, mail]) == [mail]
    clock.now_s += LINKED_S
    assert roots.stale([mail, cookie]) == [mail, cookie]


def test_a_plain_tuple_finds_what_a_name_was_kept_under() -> None:
    roots = Roots(clock_s=Clock())
    roots.keep([linked(name("cookie"), name("phone"))])
    found = roots.get(("acme", "cookie", b"\x01" * 32))  # type: ignore[call-overload]
    assert (found.customer, found.root) == (Claim.absent(name("phone")).own, name("phone"))
    roots.forget([name("cookie")])
    assert roots.get(name("cookie")) is None


def test_it_never_holds_more_than_it_may_and_forgets_what_it_learned_longest_ago() -> None:
    roots = Roots(entries_max=3, clock_s=Clock())
    for number in range(1, 6):
        roots.keep([single(name("email", number))])
        roots.keep([single(name("email", 1))])
        roots.set_apart("a", str(number))
    assert len(roots) == 3
    assert [n for n in range(1, 6) if roots.get(name("email", n))] == [1, 4, 5]
    assert [n for n in range(1, 6) if roots.is_apart(str(n), "a")] == [3, 4, 5]


def test_two_who_stay_two_are_asked_about_again_after_a_while() -> None:
    clock = Clock()
    roots = Roots(clock_s=clock)
    roots.set_apart("a", "b")
    assert roots.is_apart("b", "a")
    clock.now_s += LINKED_S + 0.1
    roots.stale([])
    assert not roots.is_apart("a", "b")
