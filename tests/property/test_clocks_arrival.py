"""Laws of clocks: every order of arrival ends in the same clocks, and what was told in the end is what the rows say."""

import random
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.clock_histories import US, ended, history

QUIET = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def shuffled(seed: int, length: int, spacing_s: int) -> tuple[object, object]:
    """Return how a history ends in order, and how it ends when it comes in some other order, long afterwards but not too late."""
    rng = random.Random(seed)  # noqa: S311 - hypothesis chooses the seed
    happening = history(rng, length)
    expected, _ = ended(happening)
    late = happening[:]
    rng.shuffle(late)
    last_us = max(event.header.occurred_at_us for event in happening)
    found, _ = ended(late, [last_us + number * spacing_s * US for number in range(len(late))])
    return expected, found


@QUIET
@given(seed=st.integers(0, 10**9), length=st.integers(2, 25), spacing_s=st.sampled_from([0, 1, 100]))
def test_every_order_of_arrival_ends_in_the_same_clocks(seed: int, length: int, spacing_s: int) -> None:
    expected, found = shuffled(seed, length, spacing_s)
    assert found == expected


def test_one_history_in_one_hundred_orders_of_arrival() -> None:
    rng = random.Random(4711)  # noqa: S311 - a test repeats itself
    happening = history(rng, 40)
    expected, _ = ended(happening)
    last_us = max(event.header.occurred_at_us for event in happening)
    for _ in range(100):
        late = happening[:]
        rng.shuffle(late)
        found, _ = ended(late, [last_us + number * US for number in range(len(late))])
        assert found == expected
    assert len(expected["clock"]) > 20


@QUIET
@given(seed=st.integers(0, 10**9), length=st.integers(2, 25))
def test_a_row_is_breached_exactly_if_its_breach_was_told_once_more_than_taken_back(seed: int, length: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - hypothesis chooses the seed
    happening = history(rng, length)
    jittered = sorted(happening, key=lambda event: event.header.occurred_at_us + rng.randrange(3 * 3_600) * US)
    _, world = ended(jittered)
    told: Counter[tuple[str, str, int]] = Counter()
    for effect in world.effects:
        if effect.kind in {"sla.breached", "sla.breach_retracted"}:
            key = (effect.payload.header.conversation_id, effect.payload.metric, effect.payload.instance)  # type: ignore[union-attr]
            told[key] += 1 if effect.kind == "sla.breached" else -1
    breached = {(r["conversation_id"], r["metric"], r["instance"]) for r in world.rows()["clock"] if r["state"] == "breached"}
    assert {key: count for key, count in told.items() if count} == dict.fromkeys(breached, 1)
    verdicts = [e.payload.header.id for e in world.effects if e.kind in {"sla.breached", "sla.breach_retracted"}]  # type: ignore[union-attr]
    assert len(verdicts) == len(set(verdicts))
