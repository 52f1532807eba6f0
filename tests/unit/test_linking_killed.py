"""What a process that dies while it links, proposes or undoes leaves to others: nothing that the next one does not complete."""

from collections.abc import Sequence
from typing import Any

import pytest

from schemas.events import Handle
from streams.store.memory import MemoryStore
from tests.support.linking import Log, Process, handle, identity_store, run
from tests.unit.test_linking import ACCOUNT, COOKIE, MAIL, OTHER_ACCOUNT, PHONE, whole

STORIES: dict[str, tuple[list[tuple[str, Sequence[Handle]]], tuple[str, Sequence[Handle]]]] = {
    "a link that takes others along": ([("1", (COOKIE, MAIL)), ("2", (handle("cookie", 2), MAIL))], ("3", (MAIL, ACCOUNT))),
    "a proposal": ([("1", (ACCOUNT,)), ("2", (OTHER_ACCOUNT, MAIL))], ("3", (MAIL, ACCOUNT))),
    "a merge by a person": ([("1", (ACCOUNT, COOKIE)), ("2", (OTHER_ACCOUNT, MAIL))], ("merge-3", (MAIL, COOKIE))),
    "a rejection": ([("1", (ACCOUNT,)), ("2", (MAIL,))], ("reject-3", (MAIL, ACCOUNT))),
    "an unmerge of three": (
        [("1", (COOKIE, MAIL)), ("2", (PHONE, ACCOUNT)), ("3", (MAIL, PHONE)), ("4", (MAIL, handle("cookie", 2)))],
        ("unmerge-5", (MAIL,)),
    ),
    "an unmerge whose leader is another": ([("1", (MAIL, ACCOUNT)), ("2", (MAIL, PHONE)), ("3", (MAIL, COOKIE))], ("unmerge-4", (MAIL,))),
}


def told_once(log: Log) -> list[tuple[str, str]]:
    """Return (key, id) of what lies on the log, each once, as readers take it."""
    return list(dict.fromkeys((key, event.header.id) for key, event in log.records))


@pytest.mark.parametrize("story", STORIES)
def test_killed_after_any_step_and_done_again_it_comes_to_the_same(story: str) -> None:
    """The last deed of each story is cut off after every number of requests and appends; who comes next completes it."""
    before, last = STORIES[story]

    def at_rest(store: MemoryStore, log: Log) -> tuple[Any, Any, Any]:
        pairs = [{k: v for k, v in row.items() if k != "changed_at"} for row in run(store.scan("identity_pair"))]
        claims = [{k: v for k, v in row.items() if k != "linked_at"} for row in run(store.scan("identity"))]
        return sorted(claims, key=str), sorted(pairs, key=str), sorted(told_once(log))

    def told(steps: int) -> tuple[bool, Any]:
        """Return whether the last deed came to its end within so many steps, and what it came to, done again unless it had done all of it."""
        store, log = identity_store(), Log()
        run(Process(store, log, before, stepping=False).work())
        work, ended = Process(store, log, [last]).work(), False
        for _ in range(steps):
            try:
                work.send(None)
            except StopIteration:
                ended = True
                break
        work.close()
        if not ended and at_rest(store, log) != expected:
            run(Process(store, log, [last], stepping=False).work())
        whole(store, log, by_people=True)
        return ended, at_rest(store, log)

    expected: Any = None
    ended, expected = told(10_000)
    steps = 0
    while not (found := told(steps))[0]:
        assert found[1] == expected, f"killed after {steps} steps"
        steps += 1
    assert ended
    assert steps > 5
