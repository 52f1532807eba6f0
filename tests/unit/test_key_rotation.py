"""Rotation: a new key-encryption key, everything under it, the old one gone; killed anywhere, completed by the next run."""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from schemas.sealing import KeyPage, WrappedKey
from streams.store.catalogue import keyring_tables
from streams.store.data_keys import CassandraDataKeys
from streams.store.memory import MemoryStore
from tests.support.rotating import NOW_US, Clock, People, Silent, keks_in, rotation
from touchline.errors import Misconfigured, Retryable
from touchline.keyring.keyfile import KeyFile
from touchline.keyring.memory import MemoryKeyStore
from touchline.keyring.rewrapping import current_kek
from touchline.keyring.secret_file import changing


class World:
    """Twenty people, sealed for, over a table with Cassandra's own cells."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys.json"
        self.tick_us = NOW_US
        self.tables = MemoryStore(keyring_tables())
        self.store = CassandraDataKeys(self.tables, self.now_us)
        self.people = People(self.store, self.path)
        asyncio.run(self.fill(range(20)))

    def now_us(self) -> int:
        self.tick_us += 1_000
        return self.tick_us

    async def fill(self, numbers: Sequence[int]) -> None:
        ring = self.people.process()
        for n in numbers:
            await self.people.seal(ring, n)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_after_a_rotation_everything_lies_under_the_new_key_and_opens_as_before(world: World) -> None:
    old, _ = keks_in(world.path)
    notes: list[tuple[str, str]] = []
    done = asyncio.run(rotation(world.path, world.store, notes=notes).rotate())
    assert keks_in(world.path) == (done.current, [done.current])
    assert (done.added, done.removed, done.kept, tuple(done.rewrapped)) == (done.current, (old,), (), (20, 0, 0))
    assert asyncio.run(world.people.counted()).keks() == [done.current]
    assert notes == [(done.current, old)]
    asyncio.run(world.people.check())


def test_handles_keep_their_hashes_and_the_file_its_mode(world: World) -> None:
    before = KeyFile.load_or_create(world.path).index_key("acme")
    world.path.chmod(0o400)
    asyncio.run(rotation(world.path, world.store).rotate())
    assert KeyFile.load_or_create(world.path).index_key("acme") == before
    assert stat.S_IMODE(world.path.stat().st_mode) == 0o400
    assert [found.name for found in world.path.parent.iterdir()] == ["keys.json"], "a second copy of the secrets lies about"


def test_a_link_stays_a_link_and_the_file_behind_it_changes(world: World, tmp_path: Path) -> None:
    link = tmp_path / "mounted" / "keys.json"
    link.parent.mkdir()
    link.symlink_to(world.path)
    done = asyncio.run(rotation(link, world.store).rotate())
    assert link.is_symlink()
    assert keks_in(world.path)[0] == done.current


def test_destroyed_keys_are_not_touched_and_stay_destroyed(world: World) -> None:
    asyncio.run(world.people.destroy(3))
    before = asyncio.run(world.store.read("acme", bytes([3]) * 32, "contact"))
    done = asyncio.run(rotation(world.path, world.store).rotate())
    assert done.rewrapped.done == 19
    assert asyncio.run(world.store.read("acme", bytes([3]) * 32, "contact")) == before
    asyncio.run(world.people.check())


def test_a_key_that_is_destroyed_between_reading_and_writing_is_not_brought_back(world: World) -> None:
    asyncio.run(_destroyed_meanwhile(world))


async def _destroyed_meanwhile(world: World) -> None:
    [page] = [page async for page in world.store.pages() if page.rows[0].handle_hash == bytes([7]) * 32]
    await world.people.destroy(7)
    row = msgspec.structs.replace(page.rows[0], wrapped=b"\x01anew", kek_id="k-2")
    await world.store.rewrap_many([row], page.read_at_us)
    for later_us in (0, 3_600_000_000, 80_000_000_000):
        await world.store.rewrap_many([row], world.now_us() + later_us)
    [found] = await world.store.read("acme", bytes([7]) * 32, "contact")
    assert (found.state, found.wrapped) == ("destroyed", b"")


def test_of_two_writes_at_one_instant_one_wins_whole(world: World) -> None:
    """Cassandra decides cell by cell; a blob of one key beside the name of another would never open again."""

    async def tie() -> WrappedKey:
        [row] = await world.store.read("acme", bytes([1]) * 32, "contact")
        for blob, kek_id in ((b"\x01zzz", "k-a"), (b"\x01aaa", "k-z"), (b"\x01mmm", "k-m")):
            await world.store.rewrap_many([msgspec.structs.replace(row, wrapped=blob, kek_id=kek_id)], 2**60)
        return (await world.store.read("acme", bytes([1]) * 32, "contact"))[0]

    found = asyncio.run(tie())
    assert (found.wrapped, found.kek_id) in {(b"\x01zzz", "k-a"), (b"\x01aaa", "k-z"), (b"\x01mmm", "k-m")}


def test_a_row_from_before_cells_named_their_key_is_read_and_wrapped_anew(world: World) -> None:
    [row] = asyncio.run(world.store.read("acme", bytes([1]) * 32, "contact"))
    key = {"tenant": "acme", "handle_hash": row.handle_hash.hex(), "purpose": "contact", "key_id": row.key_id}
    for partition in world.tables._kinds["data_key"].partitions.values():
        for found in partition.rows.values():
            cell = found.cells["wrapped"]
            if isinstance(cell.value, bytes) and cell.value.endswith(row.wrapped):
                found.cells["wrapped"] = msgspec.structs.replace(cell, value=row.wrapped)
    raw = asyncio.run(world.tables.read("data_key", {name: key[name] for name in ("tenant", "handle_hash", "purpose")}))
    assert raw[0]["wrapped"] == row.wrapped
    assert asyncio.run(world.store.read("acme", bytes([1]) * 32, "contact")) == [row]
    assert asyncio.run(rotation(world.path, world.store).rotate()).rewrapped.done == 20
    asyncio.run(world.people.check())


def test_with_keep_old_the_old_key_stays_and_resume_takes_it_out(world: World) -> None:
    old, _ = keks_in(world.path)
    clock = Clock()
    done = asyncio.run(rotation(world.path, world.store, clock=clock, keep_old=True).rotate())
    assert done.kept == (old,)
    assert keks_in(world.path) == (done.current, [old, done.current])
    assert asyncio.run(world.people.counted()).keks() == [done.current]
    assert clock.now_s == 1000.0, "nothing is waited for: nothing is taken out"
    again = asyncio.run(rotation(world.path, world.store).resume())
    assert (again.added, again.removed, keks_in(world.path)) == (None, (old,), (done.current, [done.current]))


def test_never_more_than_two_keys_are_valid(world: World) -> None:
    first, _ = keks_in(world.path)
    kept = asyncio.run(rotation(world.path, world.store, keep_old=True).rotate())
    done = asyncio.run(rotation(world.path, world.store, keep_old=True).rotate())
    assert done.removed == (first,)
    assert keks_in(world.path) == (done.current, [kept.current, done.current])
    with pytest.raises(Misconfigured, match="another rotation is under way"):
        KeyFile.load_or_create(world.path).add_kek("k-third")
    asyncio.run(world.people.check())


def test_resume_without_anything_to_end_changes_nothing(world: World) -> None:
    before = world.path.read_bytes()
    done = asyncio.run(rotation(world.path, world.store).resume())
    assert (done.added, done.removed, done.rewrapped.done) == (None, (), 0)
    assert world.path.read_bytes() == before


def test_a_run_that_was_killed_before_the_new_key_wraps_is_completed(world: World) -> None:
    old, _ = keks_in(world.path)
    file = KeyFile.load_or_create(world.path)
    with changing(world.path) as change:
        body = json.loads(change.raw)
        body["keks"]["k-new"], body["next"] = "bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmU=", "k-new"
        change.replace(json.dumps(body).encode())
    assert file.unfinished()
    assert asyncio.run(current_kek(KeyFile.load_or_create(world.path).wrapper)) == old
    done = asyncio.run(rotation(world.path, world.store).resume())
    assert (done.current, done.removed) == ("k-new", (old,))
    asyncio.run(world.people.check())


def test_what_killed_runs_left_beside_the_file_is_removed_by_the_next_change(world: World) -> None:
    for name in (".keys.json.draft", ".keys.json.0123456789abcdef"):
        (world.path.parent / name).write_text("a copy of secrets")
    others = world.path.parent / ".keys.jsonl"
    others.write_text("somebody else's")
    asyncio.run(rotation(world.path, world.store).rotate())
    assert sorted(found.name for found in world.path.parent.iterdir()) == [".keys.jsonl", "keys.json"]


def test_the_old_key_stays_for_a_minute_for_whoever_wrapped_by_it_just_before(world: World) -> None:
    """A process may have wrapped a key by the old one, and stores it only now: it must find the old one still there."""
    clock, late = Clock(), asyncio.run(_wrapped_late(world))

    async def sleep(wait_s: float) -> None:
        await clock.sleep(wait_s)
        if 1030 <= clock.now_s < 1031:
            await world.store.insert(late)

    done = asyncio.run(rotation(world.path, world.store, clock=clock, sleep=sleep).rotate())
    assert clock.now_s >= 1060
    assert keks_in(world.path) == (done.current, [done.current])
    [found] = [row for row in asyncio.run(world.store.read("acme", late.handle_hash, "contact")) if row.key_id == "late"]
    assert found.kek_id == done.current
    assert asyncio.run(KeyFile.load_or_create(world.path).wrapper.unwrap(found.wrapped, found.kek_id, found.context)) == b"s" * 32


async def _wrapped_late(world: World) -> WrappedKey:
    bare = WrappedKey(tenant="acme", handle_hash=b"l" * 32, purpose="contact", key_id="late", wrapped=b"", kek_id="", created_at_us=NOW_US)
    wrapped, kek_id = await KeyFile.load_or_create(world.path).wrapper.wrap(b"s" * 32, bare.context)
    return msgspec.structs.replace(bare, wrapped=wrapped, kek_id=kek_id)


def test_rows_that_cannot_be_unwrapped_hold_the_old_key_until_they_are_given_up(world: World) -> None:
    old, _ = keks_in(world.path)
    [row] = asyncio.run(world.store.read("acme", bytes([1]) * 32, "contact"))
    asyncio.run(world.store.insert(msgspec.structs.replace(row, wrapped=row.wrapped[:-1] + b"?")))
    done = asyncio.run(rotation(world.path, world.store).rotate())
    assert (done.rewrapped.broken, done.removed, done.kept) == (1, (), (old,))
    again = asyncio.run(rotation(world.path, world.store).rotate())
    assert (again.added, again.kept) == (None, (old,)), "there is no room for a third key"
    given_up = asyncio.run(rotation(world.path, world.store, forget_broken=True).resume())
    assert (given_up.removed, given_up.kept) == ((old,), ())


def test_keys_that_are_not_here_are_left_alone(world: World) -> None:
    [row] = asyncio.run(world.store.read("acme", bytes([1]) * 32, "contact"))
    asyncio.run(world.store.insert(msgspec.structs.replace(row, kek_id="k-elsewhere")))
    done = asyncio.run(rotation(world.path, world.store).rotate())
    assert (done.rewrapped.done, done.kept) == (19, ())
    [found] = asyncio.run(world.store.read("acme", bytes([1]) * 32, "contact"))
    assert (found.kek_id, found.wrapped) == ("k-elsewhere", row.wrapped)


class _Stubborn(MemoryKeyStore):
    """A store whose rows were written by a clock that is far ahead: what comes later is hidden."""

    async def rewrap_many(self, rows: Sequence[WrappedKey], read_at_us: int) -> None:
        del rows, read_at_us


def test_rows_that_refuse_to_change_end_the_run_with_a_reason_and_the_old_key_stays(tmp_path: Path) -> None:
    store = _Stubborn()
    people = People(store, tmp_path / "keys.json")
    asyncio.run(people.seal(people.process(), 1))
    old, _ = keks_in(people.path)
    with pytest.raises(Retryable, match="20 times") as raised:
        asyncio.run(rotation(people.path, store).rotate())
    assert "clocks" in raised.value.next_step
    assert old in keks_in(people.path)[1]


def test_a_note_that_cannot_be_written_leaves_the_file_as_it_was(world: World) -> None:
    before = world.path.read_bytes()

    async def note(kek_id: str, old: str) -> None:
        raise Retryable(f"The trail is away: {kek_id}, {old}.")

    with pytest.raises(Retryable, match="trail"):
        asyncio.run(rotation(world.path, world.store, before_adding=note).rotate())
    assert world.path.read_bytes() == before


def test_progress_says_what_is_counted_wrapped_and_waited_for(world: World) -> None:
    told = Silent()
    asyncio.run(rotation(world.path, world.store, progress=told).rotate())
    assert [step.split()[0] for step in told.steps] == ["Counting", "Wrapping", "Waiting", "Looking"]
    assert told.done >= 20 + 20 + 20


def test_a_store_that_fails_within_ends_the_run_and_the_next_one_ends_the_rotation(world: World) -> None:
    old, _ = keks_in(world.path)

    class Failing:
        def __init__(self) -> None:
            self.left = 7

        async def pages(self) -> AsyncIterator[KeyPage]:
            async for page in world.store.pages():
                yield page

        async def rewrap_many(self, rows: Sequence[WrappedKey], read_at_us: int) -> None:
            self.left -= 1
            if self.left < 0:
                raise Retryable("The store is away.")
            await world.store.rewrap_many(rows, read_at_us)

    with pytest.raises(Retryable, match="away"):
        asyncio.run(rotation(world.path, Failing()).rotate())
    assert asyncio.run(world.people.counted()).under({old}) == 13
    asyncio.run(world.people.check())
    done = asyncio.run(rotation(world.path, world.store).resume())
    assert (done.rewrapped.done, done.removed) == (13, (old,))
    asyncio.run(world.people.check())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root rotates the file of another user")
def test_the_file_keeps_its_owner_when_root_rotates(world: World) -> None:
    os.chown(world.path, 1234, 1234)
    asyncio.run(rotation(world.path, world.store).rotate())
    assert (world.path.stat().st_uid, world.path.stat().st_gid) == (1234, 1234)
