"""Laws of rotation: whoever seals, opens, rotates and is killed in between, what was sealed opens as it was, unless it was erased.

Three processes run on whatever they knew, rotations of two machines overlap, and each may be killed before or after any of its changes
to the table or the file. At the end one run completes what is left, and one key wraps everything.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.sealing import KeyPage, WrappedKey
from streams.store.catalogue import keyring_tables
from streams.store.data_keys import CassandraDataKeys
from streams.store.memory import MemoryStore
from tests.support.rotating import NOW_US, Clock, People, keks_in, rotation
from touchline.keyring import secret_file
from touchline.keyring.keyfile import KEKS_MAX
from touchline.keyring.keyring import Keyring

STEPS = st.one_of(
    st.tuples(st.just("seal"), st.integers(0, 7), st.integers(0, 2)),
    st.tuples(st.just("erase"), st.integers(0, 7), st.just(0)),
    st.tuples(st.just("restart"), st.just(0), st.integers(0, 2)),
    st.tuples(st.just("wait"), st.sampled_from([0, 1, 3, 50, 100]), st.just(0)),
    st.tuples(st.just("rotate"), st.integers(0, 12), st.integers(0, 3)),
    st.tuples(st.just("two"), st.integers(0, 12), st.integers(0, 12)),
)


class _Killed(BaseException):
    """The process is gone: no handler of the product's may see it as an error."""


class _Life:
    """How many changes a process may still make; the last one happens or not."""

    def __init__(self, changes: int, *, after: bool) -> None:
        self.left = changes
        self.after = after

    def before_change(self) -> None:
        if self.left == 0 and not self.after:
            raise _Killed

    def after_change(self) -> None:
        if self.left == 0:
            raise _Killed
        self.left -= 1


class _Mortal:
    """The table as a process that may be killed sees it."""

    def __init__(self, store: CassandraDataKeys, life: _Life) -> None:
        self.store = store
        self.life = life

    async def pages(self) -> AsyncIterator[KeyPage]:
        async for page in self.store.pages():
            await asyncio.sleep(0)
            yield page

    async def rewrap_many(self, rows: Sequence[WrappedKey], read_at_us: int) -> None:
        self.life.before_change()
        await asyncio.sleep(0)
        await self.store.rewrap_many(rows, read_at_us)
        self.life.after_change()


class _Story:
    """One installation, its three processes, and the wall clock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys.json"
        self.clock = Clock()
        self.started_s = self.clock.now_s
        self.lives: list[_Life] = []
        self.store = CassandraDataKeys(MemoryStore(keyring_tables()), self.now_us)
        self.people = People(self.store, self.path, clock=self.clock)
        self.rings: list[Keyring] = [self.people.process() for _ in range(3)]

    def now_us(self) -> int:
        """Milliseconds only, so that writes often have the same time."""
        return NOW_US + int((self.clock.now_s - self.started_s) * 1000) * 1000

    def change(self, replace: Any, change: secret_file.Change, raw: bytes) -> None:
        """Stand for `Change.replace` in whichever run is at it: the one whose turn it is."""
        life = self.lives[-1] if self.lives else _Life(10**6, after=True)
        life.before_change()
        replace(change, raw)
        life.after_change()

    async def run(self, steps: list[tuple[str, int, int]]) -> None:
        for what, a, b in steps:
            if what == "seal":
                await self.people.seal(self.rings[b], a, self.now_us())
            elif what == "erase":
                await self.people.destroy(a, self.now_us())
                await self.clock.sleep(61)  # the command waits for every cache
            elif what == "restart":
                self.rings[b] = self.people.process()
            elif what == "wait":
                await self.clock.sleep(a)
            elif what == "rotate":
                await self.rotated(_Life(a, after=bool(b & 1)), resume=bool(b & 2))
            else:
                await asyncio.gather(self.rotated(_Life(a, after=True)), self.rotated(_Life(b, after=False)), self.busy())
            assert len(keks_in(self.path)[1]) <= KEKS_MAX
        self.lives.clear()
        await rotation(self.path, self.store, clock=self.clock).resume()

    async def rotated(self, life: _Life, *, resume: bool = False) -> None:
        self.lives.append(life)
        run = rotation(self.path, _Mortal(self.store, life), clock=self.clock)
        try:
            await (run.resume() if resume else run.rotate())
        except (_Killed, secret_file.Misconfigured):  # the second of two finds the first one's key there
            pass
        finally:
            self.lives.remove(life)

    async def busy(self) -> None:
        """Seal and open while others rotate."""
        for n in range(6):
            await self.people.seal(self.rings[n % 3], n, self.now_us())
            await self.people.check(self.rings[(n + 1) % 3])
            await asyncio.sleep(0)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=14))
def test_everything_opens_as_before_however_rotations_and_kills_fall(steps: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_told(Path(folder), steps))


async def _told(folder: Path, steps: list[tuple[str, int, int]]) -> None:
    story = _Story(folder)
    replace = secret_file.Change.replace
    secret_file.Change.replace = lambda change, raw: story.change(replace, change, raw)  # type: ignore[method-assign]
    try:
        await story.run(steps)
    finally:
        secret_file.Change.replace = replace  # type: ignore[method-assign]
    current, all_ = keks_in(story.path)
    assert all_ == [current]
    assert set((await story.people.counted()).keks()) <= {current}
    for ring in (*story.rings, story.people.process()):
        await story.clock.sleep(1)
        await story.people.check(ring)
    async for page in story.store.pages():
        assert all(row.wrapped == b"" for row in page.rows if row.state == "destroyed"), "a destroyed key was brought back"
