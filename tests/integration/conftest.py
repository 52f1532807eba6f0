"""One real Kafka and one real Cassandra for the whole run, private to it: own folder, own ports, gone at the end.

`make test` runs whole files side by side (`pytest --numprocesses 2 --dist loadfile`): each of these lanes is a run with servers of its own.

`TOUCHLINE_TEST_STACK=reuse` keeps a stack in `.touchline/test-stack` from run to run instead: fast while developing. Tests must therefore
bring names of their own (`stack.settings_with(topic_prefix=..., keyspace=...)`) and not count on finding nothing.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.testing import LiveStack, kept_stack, private_stack
from tests.support.lanes import ports_above


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """Yield the run's stack: real servers, started once."""
    if os.environ.get("TOUCHLINE_TEST_STACK") == "reuse":
        yield kept_stack(Path(".touchline/test-stack").resolve())
        return
    with private_stack(tmp_path_factory.mktemp("stack"), ports_above()) as live:
        yield live
