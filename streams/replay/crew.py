"""The processes of a build, as their parent sees them: started, told what to do, listened to, and gone when it is.

One that dies makes the others finish their chunk and leave; which one, and what it said, is said.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Final

from streams.carried import Carried
from streams.replay.child import replay_share
from streams.replay.messages import Go, Opened, Progress, Rate, Rested, Share, Stop
from touchline.errors import TouchlineError

__all__ = ["Crew"]

_LEAVE_S: Final = 5.0


class _Member:
    """One process: what it has said last, and whether it rests."""

    def __init__(self, number: int, share: Share, process: SpawnProcess, connection: Connection) -> None:
        self.number = number
        self.share = share
        self.process = process
        self.connection = connection
        self.opened = False
        self.rested: bool | None = None
        self.failed: Carried | None = None
        self.gone = False
        self.progress = Progress({}, 0, 0, 0, 0, 0, 0)


class Crew:
    """Start it with `start`, let it work with `run`; `close` it in the end, whatever happened."""

    def __init__(self, shares: Sequence[Share], target: Callable[[Connection, Share], None] = replay_share) -> None:
        self._shares = shares
        self._target = target
        self._members: list[_Member] = []
        self._news = asyncio.Event()
        self._stopping = self._killed = False

    @property
    def progress(self) -> list[Progress]:
        """What each process has said last."""
        return [member.progress for member in self._members]

    async def start(self) -> None:
        """Start the processes; returns when their partitions are open. Raises what any of them raised."""
        loop, context = asyncio.get_running_loop(), get_context("spawn")
        for number, share in enumerate(self._shares, 1):
            ours, theirs = context.Pipe()
            process = context.Process(target=self._target, args=(theirs, share), name=f"replay-{number}", daemon=True)
            process.start()
            theirs.close()
            member = _Member(number, share, process, ours)
            self._members.append(member)
            threading.Thread(target=self._listen, args=(loop, member), name=f"replay-{number}-ear", daemon=True).start()
        await self._until(lambda member: member.opened)

    async def run(self, ends: dict[int, int]) -> bool:
        """Let everybody replay up to these offsets; tell whether all of it was done (`stop` was not called). Raises what they raise."""
        for member in self._members:
            member.rested = None
            self._tell(member, Go({partition: ends[partition] for partition in member.share.partitions}))
        await self._until(lambda member: member.rested is not None)
        return all(member.rested for member in self._members)

    def set_rate(self, per_s: float | None) -> None:
        """Spread a rate over those who are at work."""
        at_work = [member for member in self._members if member.rested is None and not member.gone]
        for member in at_work:
            self._tell(member, Rate(None if per_s is None else per_s / len(at_work)))

    def stop(self) -> None:
        """Let everybody finish the chunk in hand and leave."""
        self._stopping = True
        for member in self._members:
            self._tell(member, Stop())

    async def close(self) -> None:
        """Let everybody leave, and wait for it; those who do not are ended."""
        self.stop()
        for member in self._members:
            await asyncio.to_thread(member.process.join, _LEAVE_S)
        self.kill()
        for member in self._members:
            await asyncio.to_thread(member.process.join, _LEAVE_S)
            member.connection.close()

    def kill(self) -> None:
        """End everybody at once; what is written stays."""
        self._killed = True
        for member in self._members:
            member.process.kill()

    async def _until(self, met: Callable[[_Member], bool]) -> None:
        """Wait until it is so of everybody. One that fails makes the others stop; then its error is raised."""
        while True:
            self._news.clear()
            lost = [member for member in self._members if member.gone and not (self._stopping and member.process.exitcode == 0)]
            if lost and not self._stopping:
                self.stop()
            waiting = [member for member in self._members if not member.gone and not met(member)]
            if not waiting:
                if lost and not self._killed:
                    raise _error(lost[0], len(self._members))
                return
            await self._news.wait()

    def _listen(self, loop: asyncio.AbstractEventLoop, member: _Member) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            while True:
                try:
                    message = member.connection.recv()
                except (EOFError, OSError):
                    member.process.join(_LEAVE_S)
                    loop.call_soon_threadsafe(self._heard, member, None)
                    return
                loop.call_soon_threadsafe(self._heard, member, message)

    def _heard(self, member: _Member, message: object) -> None:
        if message is None:
            member.gone = True
        elif isinstance(message, Opened):
            member.opened = True
            member.progress = Progress(message.offsets, 0, 0, 0, 0, 0, 0)
        elif isinstance(message, Progress):
            member.progress = message
        elif isinstance(message, Rested):
            member.rested = message.complete
        elif isinstance(message, Carried):
            member.failed = message
        self._news.set()

    @staticmethod
    def _tell(member: _Member, message: object) -> None:
        with suppress(OSError):  # it is gone: its ear says so
            member.connection.send(message)


def _error(member: _Member, members: int) -> TouchlineError:
    """Return what a process that is gone said, or that it said nothing."""
    partitions = ", ".join(map(str, member.share.partitions))
    if member.failed is not None:
        return member.failed.error()
    others = "" if members == 1 else " The others have finished their chunk."
    return TouchlineError(
        f"process {member.number} of {members} (partitions {partitions}) ended with {member.process.exitcode} and said nothing.{others}",
        next_step="run the same command again: it goes on from the last checkpoints; if it was killed for its memory, take fewer --workers.",
    )
