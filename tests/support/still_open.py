"""A process that has opened some sealed parts and goes on trying: it says when it could no longer.

`python -m tests.support.still_open hears|deaf FILE`: the parts are JSON in the file, as `written` puts them there. It prints `warm` when it
has opened all of them, and `gone` with the time, in seconds since 1970, when none opens any more; then it ends. One that `hears` listens to
the control topic, as importers do; one that is deaf finds out by itself, when the keys that it holds have grown too old.
"""

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from schemas.codec import Codec
from schemas.events import KeysDestroyed
from schemas.sealing import Opened, SealedItem
from streams.control_topic import handles_of, listening
from streams.store.catalogue import keyring_tables
from streams.store.data_keys import CassandraDataKeys
from streams.wall_clock import now_us
from tests.support.harness import Installation
from tests.support.processes import Running, until
from touchline.keyring.keyfile import KeyFile
from touchline.keyring.keyring import Keyring
from touchline.settings import load_settings
from touchline.tables import connected

__all__ = ["started", "when_gone", "written"]

_EVERY_S = 0.2
_TRIES_MAX = 5000


def written(file: Path, items: list[SealedItem]) -> Path:
    """Write sealed parts for such a process to open."""
    file.write_bytes(msgspec.json.encode(items))
    return file


def started(here: Installation, how: str, file: Path) -> Running:
    """Start one, and wait until it has opened everything."""
    environment = {**here.environment(), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = Running(f"still-open-{how}", ["python", "-m", "tests.support.still_open", how, str(file)], environment, here.folder)
    until(lambda: "warm" in process.said() or not process.is_running, 60, "it has opened everything")
    assert process.is_running, process.last_words()
    return process


def when_gone(process: Running, within_s: float) -> float:
    """Wait until it can open nothing any more; return since when, in seconds since 1970."""
    assert process.exit_code(within_s) == 0, process.last_words()
    return float(process.said().split("gone", 1)[1])


async def _watch(*, hears: bool, items: list[SealedItem]) -> None:
    settings, codec = load_settings(), Codec()
    async with AsyncExitStack() as open_ones:
        store = await open_ones.enter_async_context(connected(settings))
        data_keys = CassandraDataKeys(store.beside(settings.keyring_keyspace, keyring_tables()), now_us)
        keyring = Keyring(data_keys, KeyFile.load_or_create(settings.key_file).wrapper, codec)

        def hear(said: KeysDestroyed) -> None:
            for handle in handles_of(said.handles):
                keyring.doubt(said.tenant, handle.hash)

        if hears:
            await open_ones.enter_async_context(listening(settings.brokers, settings.topic("control"), codec, hear))
            await asyncio.sleep(2)  # its first look only learns where the topic ends
        assert all(isinstance(one, Opened) for one in await keyring.open_many(items))
        print("warm", flush=True)  # noqa: T201 - for whoever started it
        for _ in range(_TRIES_MAX):
            if not any(isinstance(one, Opened) for one in await keyring.open_many(items)):
                print("gone", time.time(), flush=True)  # noqa: T201 - as above
                return
            await asyncio.sleep(_EVERY_S)
    sys.exit(1)


if __name__ == "__main__":
    asyncio.run(_watch(hears=sys.argv[1] == "hears", items=msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=list[SealedItem])))
