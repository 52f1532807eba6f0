"""A measured import: the product's own importer onto the channel topics, once as it is and once cut into its parts.

    python -m benchmarks.ingest SPEC        options: files (names to paths, imported one after the other), parts (true: cut)

As it is, the next chunk is sealed while the last one is on its way. Cut into parts, each step of a chunk ends before the next one
begins, so that its CPU and its wall time can be told apart; that is slower, and only the shares count.
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from benchmarks.child import Specification, report, settings_of, specification
from benchmarks.figures import Usage
from benchmarks.meter import CountedStore, Meter
from connectors import files
from connectors.checks import Repeats, check
from connectors.contract import Draft
from connectors.files import Chunk, Input
from connectors.ingest import Importer
from connectors.manifest import KnownChunk, Manifest, Note, canonical
from connectors.producer import Producer
from connectors.quarantine import Quarantine
from connectors.sealer import Sealer
from schemas.codec import Codec
from schemas.topics import channel_topic
from streams.store.cassandra import CassandraStore
from streams.store.catalogue import keyring_tables
from streams.store.data_keys import CassandraDataKeys
from streams.store.manifests import Manifests
from streams.wall_clock import now_us
from touchline.channel_topics import ChannelTopics
from touchline.keyring.keyfile import KeyFile
from touchline.keyring.keyring import Keyring
from touchline.settings import Settings

__all__ = ["PARTS", "Imported"]

PARTS = ("read and map", "check and hash", "keys", "seal and encode", "produce", "acknowledge")


class Imported(msgspec.Struct, frozen=True):
    """What one file took. `cpu_s` and `wall_s` are by part, if it was cut."""

    usage: Usage
    cpu_s: dict[str, float] = {}
    wall_s: dict[str, float] = {}


class _Intake:
    """What an import needs, wired as `touchline ingest` does."""

    def __init__(self, settings: Settings, store: CassandraStore) -> None:
        self.settings = settings
        self.codec = Codec()
        self.counted = CountedStore(store)
        self.keys = KeyFile.load_or_create(settings.key_file)
        keyring = Keyring(CassandraDataKeys(store.beside(settings.keyring_keyspace, keyring_tables()), now_us), self.keys.wrapper, self.codec)
        self.sealer = Sealer(keyring, self.codec, self.keys.index_key, settings.default_region)
        self.producer = Producer(settings.brokers, delivery_timeout_s=600)
        self.manifests = Manifests(store, KnownChunk, Note, now_us)

    async def whole(self, source: Input) -> int:
        """Import as the product does; return how many events were accepted."""
        settings = self.settings
        importer = Importer(
            tenant=settings.tenant,
            index_key=self.keys.index_key(settings.tenant),
            sealer=self.sealer,
            codec=self.codec,
            producer=self.producer,
            quarantine=Quarantine(
                self.producer, self.codec, settings.topic("quarantine"), tenant=settings.tenant, source=source.source, file="day.jsonl"
            ),
            manifests=self.manifests,
            channels=ChannelTopics(settings, self.codec),
            clock_us=now_us,
            topic_prefix=settings.topic_prefix,
            future_max_s=settings.future_max_s,
        )
        return (await importer.run(source)).counts.accepted

    async def cut(self, source: Input, clock: "_Parts") -> int:
        """Do the same steps one after the other, each on the clock; return how many events there were."""
        done, repeats, manifest = 0, Repeats(), Manifest(self.keys.index_key(self.settings.tenant))
        while (chunk := self._read(source, clock)) is not None:
            drafts = [slot for slot in chunk.slots if isinstance(slot, Draft)]
            with clock.of("check and hash"):
                at_us, contents = now_us(), [canonical(draft) for draft in drafts]
                for draft, content in zip(drafts, contents, strict=True):
                    check(draft, now_us=at_us, future_max_s=self.settings.future_max_s)
                    repeats.look(draft, content)
                manifest.known(0, contents)
            with clock.of("keys"):
                await self.sealer.prepare(drafts, at_us)
            with clock.of("seal and encode"):
                records = [self._record(draft, at_us) for draft in drafts]
            with clock.of("produce"):
                for topic, key, value in records:
                    self.producer.produce(topic, key, value)
            with clock.of("acknowledge"):
                await self.producer.drain()
            done += len(records)
        return done

    def _read(self, source: Input, clock: "_Parts") -> Chunk | None:
        with clock.of("read and map"):
            return next(source.chunks, None)

    def _record(self, draft: Draft, now_us: int) -> tuple[str, bytes, bytes]:
        event = self.sealer.event(draft, now_us)
        header = event.header
        key = header.handles[0].hash if header.handles else f"{header.actor_kind}:{header.actor_id}".encode()
        return channel_topic(self.settings.topic_prefix, header.channel), key, self.codec.encode(event)


class _Parts:
    """CPU and wall seconds by part."""

    def __init__(self) -> None:
        self.cpu_s = dict.fromkeys(PARTS, 0.0)
        self.wall_s = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Count what happens inside to this part."""
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        yield
        self.cpu_s[part] += time.process_time() - cpu_s
        self.wall_s[part] += time.perf_counter() - wall_s


async def _run(spec: Specification) -> dict[str, Imported]:
    settings = settings_of(spec)
    store = await CassandraStore.connect(settings)
    try:
        intake, found = _Intake(settings, store), {}
        for name, path in spec.options["files"].items():
            with _opened(path) as file:
                source = files.open_input(file, "events", tenant=settings.tenant, hashed=str)
                meter, parts = Meter(spec.pids), _Parts()
                before = intake.counted.requests
                meter.start()
                done = await (intake.cut(source, parts) if spec.options.get("parts") else intake.whole(source))
                usage = meter.usage(done, requests=intake.counted.requests - before)
            found[name] = Imported(usage, parts.cpu_s, parts.wall_s) if spec.options.get("parts") else Imported(usage)
        return found
    finally:
        await store.close()


def _opened(path: str) -> BinaryIO:
    return Path(path).open("rb")


def main(arguments: Sequence[str]) -> None:
    """Run one measured import."""
    spec = specification(arguments)
    report(spec, asyncio.run(_run(spec)))


if __name__ == "__main__":
    main(sys.argv)
