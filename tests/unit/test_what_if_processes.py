"""Several processes fold what one would; what goes wrong in one of them is said by the command."""

import os
from collections.abc import Iterator
from functools import partial

import pytest

from projections.rules import Policy, Rulebook
from projections.testing import contact_connected, contact_queued, time_us
from schemas.codec import Codec
from streams.records import Batch
from streams.what_if.plan import planned
from streams.what_if.processes import folded
from streams.what_if.what_if import Question, answered
from tests.support.what_if_log import LogInMemory, published
from touchline.errors import Retryable, TouchlineError

SECOND = 1_000_000


def rules(target_s: int) -> Rulebook:
    return Rulebook(version=1, effective_at_us=0, policies=(Policy(id="calls", targets={"queue_answer": target_s}),))


class Dying(LogInMemory):
    """Ends its process when partition 1 is read for the second time; with `says` it raises instead."""

    def __init__(self, *, says: bool) -> None:
        super().__init__(2)
        self.says = says

    def batches(self, partition: int, first: int, end: int, records_max: int = 7) -> Iterator[Batch]:
        """Yield nothing of partition 1 but the record that a plan wants to see."""
        if partition == 1 and end - first > 1:
            if self.says:
                raise Retryable("the broker fell silent.", next_step="run it again.")
            os._exit(9)
        yield from super().batches(partition, first, end, records_max)


def filled(log: LogInMemory) -> LogInMemory:
    log.append(published(rules(20), time_us("08:00")), time_us("08:00"))
    for number in range(40):
        who = {"customer": f"cu-{number}", "contact_id": f"k-{number}", "conversation_id": f"k-{number}"}
        log.append(contact_queued(at="09:00", **who), time_us("09:00"))
        log.append(contact_connected(at=time_us("09:00:01") + number * SECOND, **who), time_us("09:10"))
    return log


def given(log: LogInMemory) -> LogInMemory:
    """Hand a log over as it is: a process gets a copy of its own."""
    return log


QUESTION = Question(tenant="acme", policies=rules(30))


def test_two_processes_say_what_one_says_and_tell_how_far_they_are() -> None:
    log = filled(LogInMemory(3))
    plan = planned(log, 3, QUESTION, [], Codec())
    told: list[int] = []
    both = folded(plan, QUESTION, partial(given, log), 2, told.append)
    assert both == answered(QUESTION, plan.as_of_us, plan.parts, log, lambda _: None)
    assert sum(told) == plan.records == 83
    assert both == folded(plan, QUESTION, partial(given, log), 1, told.append)
    before, after = both
    assert [sum(figures.breached for figures in side.cells.values()) for side in (before, after)] == [20, 10]


@pytest.mark.parametrize(
    ("says", "kind", "said"), [(True, Retryable, "fell silent"), (False, TouchlineError, r"died \(exit 9\)")], ids=["raises", "dies"]
)
def test_what_goes_wrong_in_a_process_is_raised_here(*, says: bool, kind: type[TouchlineError], said: str) -> None:
    log = filled(Dying(says=says))
    plan = planned(log, 2, QUESTION, [], Codec())
    with pytest.raises(kind, match=said) as raised:
        folded(plan, QUESTION, partial(given, log), 2, lambda _: None)
    assert type(raised.value) is kind
    assert raised.value.next_step
