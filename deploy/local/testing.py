"""Real servers for tests: a private stack with ports of its own, and what a test does to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.stack import Stack
from touchline.settings import STACK_FILE, Settings

__all__ = ["PORTS_ABOVE", "LiveStack", "kept_stack", "private_stack"]

PORTS_ABOVE = 10_000
"""Test stacks listen from 19042 and 19092 up, out of the way of the stack that a person runs."""


@dataclass(frozen=True, slots=True)
class LiveStack:
    """A running stack as tests see it. `folder` is a working folder in which `touchline` finds it."""

    servers: Stack
    folder: Path

    @property
    def settings(self) -> Settings:
        """Settings that lead to this stack, whatever the environment says."""
        return self.settings_with()

    def settings_with(self, **overrides: Any) -> Settings:  # noqa: ANN401 - any setting by its name
        """Return the same with some settings replaced. Give every test module a topic_prefix and a keyspace of its own."""
        return Settings(**{**self.servers.settings, **overrides})

    def kill(self, server: str) -> None:
        """SIGKILL "kafka" or "cassandra", as a power cut would; returns when it is gone."""
        self.servers.kill(server)

    def restart(self, server: str) -> None:
        """Start one again, stopping it first if it runs, on the same ports and data; returns when it answers."""
        self.servers.restart(server)

    def repair(self) -> None:
        """Do what `touchline up` does: start whatever is dead."""
        self.servers.start()


@contextmanager
def private_stack(folder: Path, ports_above: int = PORTS_ABOVE) -> Iterator[LiveStack]:
    """Start a stack in `folder` and take it away at the end, data too: commit logs are large and pytest keeps the folders of three runs.

    Two that start at the same moment need different `ports_above`: a port is looked for first and taken a moment later.
    """
    servers = Stack(folder / STACK_FILE.parent, ports_above=ports_above)
    try:
        servers.start()
        yield LiveStack(servers, folder)
    finally:
        servers.stop(wipe=True)


def kept_stack(folder: Path) -> LiveStack:
    """Start or repair a stack in `folder` that stays from run to run."""
    servers = Stack(folder / STACK_FILE.parent, ports_above=PORTS_ABOVE)
    servers.start()
    return LiveStack(servers, folder)
