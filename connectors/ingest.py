"""The importer: a file's drafts, chunk by chunk, sealed onto the channel topics, each exactly once as far as anybody can tell.

    chunk ──> checks ──> known by the manifest? ──> seal, encode ──> append ──> acknowledged ──> manifest row
                │                 │ duplicate            │ refused, quarantined        (the next chunk is sealed meanwhile)
                └ quarantined     └ found on the topics behind the note of an interrupted run: duplicate

Before the first append a note says from which offsets on this run's records may lie. A run that is killed leaves the note; the
next run of the same file reads the topics from there and leaves out what it finds: at most the chunks without a manifest row.

    received = accepted + duplicate + quarantined + refused          (checked at the end; a broken sum is an error)
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from connectors.checks import VULNERABILITY_DAYS_MAX, Repeats, check, id_reused
from connectors.contract import Draft, Rejected
from connectors.files import Chunk, Input
from connectors.manifest import KnownChunk, Manifest, ManifestStore, canonical
from connectors.pace import Pace
from connectors.patience import patiently
from connectors.ports import Appends, ChannelLog, Encodes, Seals
from connectors.quarantine import Quarantine
from connectors.run_note import RunNote
from connectors.tally import Counts, Result
from schemas.topics import CHANNELS, channel_topic
from touchline.errors import Misconfigured, Refused

__all__ = ["Importer"]

_REJECTED_KEPT_MAX: Final = 100
_POLL_S: Final = 0.25


class _Offered(NamedTuple):
    """A record of a chunk that may be sent: its place there, what is sent, its line number."""

    at: int
    draft: Draft
    line: int | None


class Importer:
    """Imports one `Input`. All that it needs of the world comes in here; `index_key` is the tenant's, `clock_us` tells the time.

    `shift_us` is added to event times; with `strict` the first rejection ends the import; `tell` is called after each chunk
    with what has been read and the counts so far.
    """

    def __init__(
        self,
        *,
        tenant: str,
        index_key: bytes,
        sealer: Seals,
        codec: Encodes,
        producer: Appends,
        quarantine: Quarantine,
        manifests: ManifestStore,
        channels: ChannelLog,
        clock_us: Callable[[], int],
        topic_prefix: str = "touchline",
        future_max_s: int = 300,
        vulnerability_days_max: int = VULNERABILITY_DAYS_MAX,
        shift_us: int = 0,
        pace: Pace | None = None,
        strict: bool = False,
        tell: Callable[[int, Counts], None] | None = None,
    ) -> None:
        self._tenant, self._index_key = tenant, index_key
        self._sealer, self._codec, self._producer, self._quarantine = sealer, codec, producer, quarantine
        self._manifests, self._channels = manifests, channels
        self._clock_us, self._shift_us = clock_us, shift_us
        self._limits = {"future_max_s": future_max_s, "vulnerability_days_max": vulnerability_days_max}
        self._pace, self._strict, self._tell = pace, strict, tell or _silent
        self._topics = {channel: channel_topic(topic_prefix, channel) for channel in CHANNELS}
        self._topics["other"] = self._topics["backoffice"]  # the channel `other` has no topic of its own
        self._manifest = Manifest(index_key)
        self._repeats = Repeats()
        self._found: set[tuple[str, str]] = set()
        self._note: RunNote | None = None
        self._source = ""
        self._done = 0
        self._finishing: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self.result = Result()

    def stop(self) -> None:
        """End after the chunk under way, so that everything sent is known. Safe to call from a signal handler of the loop."""
        self._stopping.set()

    async def run(self, file: Input) -> Result:
        """Import the file. Raises `Retryable` if broker or store stay away, `Misconfigured` if topics are missing; both resumable."""
        self._source = file.source
        self._manifest = Manifest(self._index_key, await patiently(lambda: self._manifests.load(self._tenant, self._source)))
        starts = await patiently(self._channels.ends)
        if missing := sorted(set(self._topics.values()) - {place.topic for place in starts}):
            raise Misconfigured(f"there is no topic {missing[0]}.", next_step="run `touchline topics create`.")
        for rejected in file.rejected:
            self.result.counts.received += 1
            self._reject(rejected)
        position = 0
        try:
            while not self._is_over() and (chunk := await asyncio.to_thread(next, file.chunks, None)) is not None:
                await self._chunk(position, chunk)
                position += 1
                self._done = chunk.done
                self._tell(chunk.done, self.result.counts)
        finally:
            await self._finished()
        await patiently(self._producer.drain)  # what was quarantined last
        if self._note is not None:
            await self._note.clear()
        ends = await patiently(self._channels.ends)
        self.result.grown_to = {place: end for place, end in ends.items() if end > starts.get(place, 0)}
        self.result.interrupted = self._stopping.is_set()
        self.result.counts.check()
        return self.result

    async def _chunk(self, position: int, chunk: Chunk) -> None:
        """Take one chunk through all steps but its acknowledgement, which is waited for while the next one is sealed."""
        if self._note is None:
            await self._recall(chunk)
        now_us, counts = self._clock_us(), self.result.counts
        drafts: list[Draft | None] = []
        contents: list[bytes | None] = []
        for slot, line in zip(chunk.slots, chunk.lines, strict=True):
            draft, content = self._looked_at(slot, line, now_us)
            drafts.append(draft)
            contents.append(content)
            if self.result.stopped_by is not None:
                break
        counts.received += len(contents)
        known = self._manifest.known(position, contents)
        there = [_Offered(at, draft, chunk.lines[at]) for at, draft in enumerate(drafts) if draft is not None]
        new = [one for one in there if one.at not in known and (one.draft.source, one.draft.id) not in self._found]
        counts.duplicate += len(there) - len(new)
        if len(known) < len(there):  # also where nothing is left to send: what an interrupted run sent has no row yet
            await self._send(position, new, contents)

    def _looked_at(self, slot: Draft | Rejected, line: int | None, now_us: int) -> tuple[Draft | None, bytes | None]:
        """Return the draft as it is to be sent and what stands for it in the manifest; nothing if it is rejected or a repeat."""
        if isinstance(slot, Rejected):
            self._reject(slot)
            return None, None
        content = canonical(slot)
        draft = slot if slot.appended_at_us is None and not self._shift_us else self._moved(slot)
        if (rejected := check(draft, now_us=now_us, line=line, **self._limits)) is not None:
            self._reject(rejected)
            return None, None
        seen = self._repeats.look(slot, content)
        if seen == "new":
            return draft, content
        if seen == "repeat":
            self.result.counts.duplicate += 1
        else:
            self._reject(id_reused(draft, line))
        return None, None

    async def _send(self, position: int, new: Sequence[_Offered], contents: list[bytes | None]) -> None:
        """Seal and append what is new of a chunk, and let its acknowledgement and its manifest row follow behind."""
        records = await self._sealed(new, contents) if self._pace is None else []  # while the chunk before is on its way
        await self._finished()
        if self._note is not None:
            await self._note.write(position, self._shift_us)
        if self._pace is None:
            self._append(records)
            accepted = len(records)
        else:
            await self._in_time(self._pace, new, contents)
            accepted = 0
        left_out = tuple(at for at, content in enumerate(contents) if content is None)
        known = KnownChunk(self._manifest.hash_of(contents), position, len(contents), left_out)
        self._finishing = asyncio.create_task(self._finish(known, accepted))

    async def _sealed(self, new: Sequence[_Offered], contents: list[bytes | None]) -> list[tuple[str, bytes, bytes]]:
        """Return topic, key and value of each record; what cannot be encoded is rejected and taken out of `contents`."""
        now_us = self._clock_us()
        drafts = [one.draft for one in new]
        await patiently(lambda: self._sealer.prepare(drafts, now_us))
        records = []
        for one in new:
            try:
                event = self._sealer.event(one.draft, now_us)
                value = self._codec.encode(event)
            except Refused as error:
                contents[one.at] = None
                outcome = "quarantined" if error.reason == "too_large" else "refused"
                where = f"line {one.line}: " if one.line is not None else ""
                self._reject(Rejected(outcome, error.reason, f"{where}{error.what}", one.line, one.draft.source))
                continue
            header = event.header
            key = header.handles[0].hash if header.handles else f"{header.actor_kind}:{header.actor_id}".encode()
            records.append((self._topics[header.channel], key, value))
        return records

    async def _in_time(self, pace: Pace, new: Sequence[_Offered], contents: list[bytes | None]) -> None:
        """Send each record when it is due; after `stop` the rest is as if it had not been read."""
        counts, due = self.result.counts, 0
        for at, one in enumerate(new):
            wait_s = pace.wait_s(one.draft.occurred_at_us)
            if wait_s > _POLL_S:
                await self._now(new[due:at], contents)
                due = at
                await _until(self._stopping, wait_s)
            if self._stopping.is_set():
                for unsent in new[due:]:
                    contents[unsent.at] = None
                counts.received -= len(new) - due
                return
        await self._now(new[due:], contents)

    async def _now(self, new: Sequence[_Offered], contents: list[bytes | None]) -> None:
        records = await self._sealed(new, contents)
        self._append(records)
        await patiently(self._producer.drain)
        self.result.counts.accepted += len(records)
        self._tell(self._done, self.result.counts)

    def _append(self, records: Sequence[tuple[str, bytes, bytes]]) -> None:
        produce = self._producer.produce
        for topic, key, value in records:
            produce(topic, key, value)

    async def _finish(self, chunk: KnownChunk, accepted: int) -> None:
        """Wait for the acknowledgement; only then the records count as accepted and the manifest knows them."""
        await patiently(self._producer.drain)
        await patiently(lambda: self._manifests.add(self._tenant, self._source, chunk))
        self._manifest.remember(chunk)
        self.result.counts.accepted += accepted

    async def _finished(self) -> None:
        if self._finishing is not None:
            finishing, self._finishing = self._finishing, None
            await finishing

    async def _recall(self, chunk: Chunk) -> None:
        """Look for the note of an interrupted run of the same file, and for what it had sent."""
        first = next((slot for slot in chunk.slots if isinstance(slot, Draft)), None)
        if first is None:
            return
        run = self._manifest.hash_of([canonical(first)])
        self._note = RunNote(self._manifests, self._channels, tenant=self._tenant, source=self._source, run=run)
        if (left := await self._note.recall()) is not None:
            note, self._found = left
            self._shift_us = note.shift_us

    def _moved(self, draft: Draft) -> Draft:
        """Return the draft with its times shifted, and without the append time of a file: the broker's is the true one."""
        shift_us = self._shift_us
        fields = draft.fields
        if shift_us:
            fields = {name: value + shift_us if name.endswith("_us") and isinstance(value, int) else value for name, value in fields.items()}
        return msgspec.structs.replace(draft, occurred_at_us=draft.occurred_at_us + shift_us, appended_at_us=None, fields=fields)

    def _reject(self, rejected: Rejected) -> None:
        counts, result = self.result.counts, self.result
        if rejected.outcome == "quarantined":
            counts.quarantined += 1
            self._quarantine.add(rejected, self._clock_us())
        else:
            counts.refused += 1
        result.reasons[rejected.reason] += 1
        if len(result.rejected) < _REJECTED_KEPT_MAX:
            result.rejected.append(rejected)
        if self._strict and result.stopped_by is None:
            result.stopped_by = rejected

    def _is_over(self) -> bool:
        return self._stopping.is_set() or self.result.stopped_by is not None


def _silent(done: int, counts: Counts) -> None:
    """Tell nobody."""
    del done, counts


async def _until(event: asyncio.Event, wait_s: float) -> None:
    try:
        async with asyncio.timeout(wait_s):
            await event.wait()
    except TimeoutError:
        pass
