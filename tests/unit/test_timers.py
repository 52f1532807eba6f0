"""The wheel against the plainest model there is: a set of (partition, subject, millisecond)."""

import random
from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from projections.kernel import Subject
from streams.timers import HOUR_US, TimerWheel, Waiting, hour_of

NAMESPACE = UUID(int=7)
UUIDS = [str(uuid5(NAMESPACE, str(n))) for n in range(4)]
SUBJECTS = [*UUIDS, UUIDS[0].upper(), UUIDS[0].replace("-", ""), "agent:7", "cu-1", "", "Grüße", "0" * 36]
moments = st.integers(0, 5_000_000) | st.integers(0, 5).map(lambda second: second * 1_000_000 - 1 if second else 0)


class Wheel(RuleBasedStateMachine):
    """Any order of arming, cancelling, taking out and forgetting."""

    def __init__(self) -> None:
        super().__init__()
        self.wheel = TimerWheel()
        self.model: dict[tuple[int, str, str, int], int] = {}  # (partition, tenant, subject, second) -> millisecond

    @rule(partition=st.integers(0, 2), tenant=st.sampled_from(["acme", "other"]), subject=st.sampled_from(SUBJECTS), at_us=moments)
    def arm(self, partition: int, tenant: str, subject: str, at_us: int) -> None:
        self.wheel.arm(partition, tenant, subject, at_us)
        at_ms = at_us // 1000 + 1
        self.model[partition, tenant, subject, at_ms // 1000] = at_ms

    @rule(partition=st.integers(0, 2), tenant=st.sampled_from(["acme", "other", "new"]), subject=st.sampled_from(SUBJECTS), at_us=moments)
    def cancel(self, partition: int, tenant: str, subject: str, at_us: int) -> None:
        self.wheel.cancel(partition, tenant, subject, at_us)
        self.model.pop((partition, tenant, subject, (at_us // 1000 + 1) // 1000), None)

    @rule(now_us=moments, limit=st.integers(1, 5))
    def due(self, now_us: int, limit: int) -> None:
        come = {Waiting(p, Subject(t, s), at) for (p, t, s, _), at in self.model.items() if at * 1000 <= now_us}
        found = self.wheel.due(now_us, limit)
        assert len(found) == min(limit, len(come))
        assert set(found) <= come
        for one in found:
            del self.model[one.partition, *one.subject, one.at_ms // 1000]

    @rule(gone=st.sets(st.integers(0, 2), max_size=2))
    def forget(self, gone: set[int]) -> None:
        self.wheel.forget(gone)
        self.model = {key: at for key, at in self.model.items() if key[0] not in gone}

    @invariant()
    def both_agree(self) -> None:
        assert len(self.wheel) == len(self.model)
        earliest = min(self.model.values(), default=None)
        assert self.wheel.next_us() == (None if earliest is None else earliest * 1000)
        for partition in range(3):
            mine = [(key, at) for key, at in self.model.items() if key[0] == partition]
            assert self.wheel.oldest_us(partition) == min([at // 1000 * 1_000_000 for _, at in mine], default=None)
            assert set(self.wheel.subjects(partition)) == {Subject(key[1], key[2]) for key, _ in mine}


TestWheel = Wheel.TestCase


@given(at_us=st.integers(0, 2**50))
def test_a_subject_comes_up_after_its_expiry_moment_and_within_a_millisecond(at_us: int) -> None:
    wheel = TimerWheel()
    wheel.arm(3, "acme", UUIDS[0], at_us)
    assert wheel.due(at_us, 9) == []
    (found,) = wheel.due(at_us + 1000, 9)
    assert (found.partition, found.subject) == (3, Subject("acme", UUIDS[0]))
    assert at_us < found.at_ms * 1000 <= at_us + 1000


def test_a_cancelled_timer_leaves_nothing_behind() -> None:
    """Not even the second in which it was to come, once that is over."""
    wheel = TimerWheel()
    for n in range(1000):
        wheel.arm(0, "acme", f"cu-{n}", n * 1_000_000)
    for n in range(1000):
        wheel.cancel(0, "acme", f"cu-{n}", n * 1_000_000)
    assert (len(wheel), wheel.next_us(), wheel.due(10**15, 9)) == (0, None, [])
    assert wheel._ticks == []
    assert wheel._waiting == {}


def test_what_comes_in_one_second_comes_a_portion_at_a_time_and_none_twice() -> None:
    wheel = TimerWheel()
    dice = random.Random(1)  # noqa: S311 - repeatable
    moments_us = [dice.randrange(3_000_000) for _ in range(5000)]
    for n, at_us in enumerate(moments_us):
        wheel.arm(0, "acme", f"cu-{n}", at_us)
    seen: list[str] = []
    while found := wheel.due(1_500_000, 700):
        assert len(found) <= 700
        seen += [one.subject.id for one in found]
    assert sorted(seen) == sorted(f"cu-{n}" for n, at_us in enumerate(moments_us) if at_us // 1000 + 1 <= 1500)


def test_hours_are_those_since_1970() -> None:
    assert [hour_of(0), hour_of(HOUR_US - 1), hour_of(HOUR_US)] == [0, 0, 1]
