"""A table of data keys and a key file, for tests of rotations: keys that open, processes that go on, clocks that are the test's."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec

from schemas.codec import Codec
from schemas.events import Personal
from schemas.sealing import AllDataKeys, DataKeyStore, Erased, Opened, SealedItem, parse_sealed_key
from touchline.keyring.contents import Contents
from touchline.keyring.file_wrapper import FileWrapper
from touchline.keyring.keyfile import KeyFile
from touchline.keyring.keyring import Keyring
from touchline.keyring.rotation import Rotation
from touchline.keyring.secret_file import read
from touchline.keyring.survey import Survey, survey

__all__ = ["NOW_US", "Clock", "People", "Silent", "keks_in", "rotation", "wrapper_of"]

NOW_US = 1_768_208_400_000_000
CODEC = Codec()


class Silent:
    """Progress that nobody watches; it keeps the steps' names."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.done = 0

    def step(self, name: str, total: int, unit: str = "") -> None:
        del total, unit
        self.steps.append(name)

    def tell(self, done: int) -> None:
        self.done += done


class Clock:
    """A monotonic clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, wait_s: float) -> None:
        self.now_s += wait_s
        await asyncio.sleep(0)


class People:
    """People of tenant acme whose texts are sealed, and the process that does it: `n` names a person and a purpose."""

    def __init__(self, store: DataKeyStore, path: Path, *, clock: Clock | None = None) -> None:
        self.store = store
        self.path = path
        self.clock = clock or Clock()
        self.sealed: list[tuple[str, SealedItem]] = []
        self.destroyed: set[str] = set()

    def process(self) -> Keyring:
        """Start a process: it reads the key file now."""
        return Keyring(self.store, wrapper_of(self.path, self.clock), CODEC, monotonic=self.clock)

    async def seal(self, ring: Keyring, n: int, now_us: int = NOW_US) -> None:
        """Have one more text of a person sealed."""
        hash_, purpose, text = bytes([n % 200]) * 32, "vulnerability" if n % 5 == 0 else "contact", f"text {len(self.sealed)}"
        await ring.prepare("acme", {(hash_, purpose): now_us}, now_us)  # type: ignore[dict-item] # one of both
        found = ring.seal("acme", hash_, purpose, text, CODEC.encode(Personal(text=text)), occurred_at_us=now_us)  # type: ignore[arg-type]
        assert found is not None
        self.sealed.append((text, SealedItem("acme", text, *found)))

    async def destroy(self, n: int, at_us: int = NOW_US) -> None:
        """Destroy the keys of a person, as an erasure does."""
        for purpose in ("contact", "vulnerability"):
            for row in await self.store.read("acme", bytes([n % 200]) * 32, purpose):  # type: ignore[arg-type]
                if row.state == "active":
                    await self.store.insert(msgspec.structs.replace(row, wrapped=b"", state="destroyed", erased_at_us=at_us))
                    self.destroyed.add(row.key_id)

    async def check(self, ring: Keyring | None = None) -> None:
        """Open everything, by default in a process that starts now: each is as it was, or erased."""
        answers = await (ring or self.process()).open_many([item for _, item in self.sealed])
        for (text, item), answer in zip(self.sealed, answers, strict=True):
            name = parse_sealed_key(item.sealed_key)
            assert name is not None
            assert answer == (Erased() if name.key_id in self.destroyed else Opened(Personal(text=text))), text

    async def counted(self) -> Survey:
        """Count the rows."""
        store: Any = self.store
        return await survey(store)


def wrapper_of(path: Path, clock: Clock) -> FileWrapper:
    """Return what wraps by the key file, as of now by a clock of the test's."""
    KeyFile.load_or_create(path)
    raw, seen = read(path)
    return FileWrapper(path, Contents.parsed(path, raw), seen, monotonic=clock, sleep=clock.sleep)


def keks_in(path: Path) -> tuple[str, list[str]]:
    """Return (the one that wraps, all) of a key file, read without the product."""
    body = json.loads(path.read_text())
    return body["kek_id"], list(body["keks"])


def rotation(path: Path, store: AllDataKeys, *, clock: Clock | None = None, notes: list[tuple[str, str]] | None = None, **options: Any) -> Rotation:
    """Return a run that waits by a clock of the test's."""
    clock = clock or Clock()
    noted = [] if notes is None else notes

    async def note(kek_id: str, before: str) -> None:
        noted.append((kek_id, before))

    given = {"progress": Silent(), "before_adding": note, "monotonic": clock, "sleep": clock.sleep, **options}
    file = KeyFile.load_or_create(path)
    file.wrapper = wrapper_of(path, clock)
    return Rotation(file, store, **given)
