"""The steps of `touchline log export` and `touchline log import`, put together from the settings. Prints nothing but progress."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from schemas.codec import Codec
from streams.cluster import Cluster, Place
from streams.log.export import LogSource, Written, begin, jobs, note
from streams.log.exporting import exclusively, export
from streams.log.files import unwritable
from streams.log.importing import LogImport
from streams.log.manifest import Manifest, load, save
from streams.log.reader import LogReader
from streams.log.restoring_claims import RestoringClaims
from streams.log.target import KafkaTarget
from streams.wall_clock import now_us
from touchline.errors import Misconfigured, Refused
from touchline.progress_bar import ProgressBar
from touchline.settings import Settings
from touchline.tables import connected

__all__ = ["TOPICS", "export_log", "import_log"]

TOPICS: Final = ("interaction", "config")
"""What makes the log, in the order in which their ends are taken: what the first one was told of lies in the second one already."""

_CONFIG: Final = "config"


def export_log(
    settings: Settings, folder: Path, topics: tuple[str, ...] | None, workers: int, bar: ProgressBar, *, begins: Callable[[Sequence[str]], None]
) -> dict[str, Any]:
    """Bring a folder up to the ends of the log as of now; return what it holds. `begins` hears of which topics, before anything is read.

    `topics` None: those that the folder has, else all. Raises `Refused` for a folder of another log, `Misconfigured` without topics.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    with exclusively(folder):
        manifest = load(folder)
        chosen = _chosen(folder, manifest, topics)
        cluster = Cluster(settings.brokers)
        full = {name: settings.topic(name) for name in chosen}
        existing = cluster.topics()
        partitions = {name: existing.get(topic, 0) for name, topic in full.items()}
        if missing := [full[name] for name, n in partitions.items() if not n]:
            raise Misconfigured(f"there is no topic {missing[0]}.", next_step="check TOUCHLINE_BROKERS and TOUCHLINE_TOPIC_PREFIX.")
        begins(chosen)
        told = cluster.committed(f"{settings.topic_prefix}.{_CONFIG}", [settings.topic(_CONFIG)]) if _CONFIG in chosen else {}
        readers = {name: LogReader(settings.brokers, topic, queued_kbytes=1024) for name, topic in full.items()}
        sources: dict[str, LogSource] = dict(readers)
        before = 0 if manifest is None else manifest.records
        try:
            manifest = begin(manifest, full, sources, partitions, export_id=str(uuid4()), now_us=now_us())
        finally:
            for reader in readers.values():
                reader.close()
        manifest.told = told.get(Place(settings.topic(_CONFIG), 0), 0)
        save(folder, manifest)
        _write(settings.brokers, folder, manifest, workers, bar)
    return {
        "folder": str(folder),
        "export_id": manifest.export_id,
        "records": manifest.records,
        "new_records": manifest.records - before,
        "bytes": manifest.bytes,
        "topics": [
            {
                "topic": topic.topic,
                "partitions": len(topic.partitions),
                "records": topic.records,
                "segments": sum(len(part.segments) for part in topic.partitions),
                "bytes": sum(segment.bytes for part in topic.partitions for segment in part.segments),
            }
            for topic in manifest.topics
        ],
        "unknown_schemas": manifest.unknown_schemas,
    }


def import_log(settings: Settings, folder: Path, bar: ProgressBar, *, dry_run: bool) -> dict[str, Any]:
    """Bring an export onto this installation's topics, and whose the handles are into its tables; return what became of it.

    With `dry_run` files and topics are checked, and nothing is changed.
    """
    manifest = load(folder)
    if manifest is None:
        raise Refused(
            f"{folder} holds no export: there is no manifest.json.", reason="no_export", next_step="name a folder of `touchline log export`."
        )
    with KafkaTarget(settings) as target, exclusively(folder):
        run = LogImport(target, folder, manifest, Codec())
        run.check()
        had = manifest.records - run.missing
        was_finished = run.is_finished
        if not was_finished:
            bar.step("checksums", manifest.bytes, "bytes")
            run.verify(bar.tell)
            bar.step("what is there", had)
            run.compare(bar.tell)
        to_send = run.missing
        claims = unnamed = 0
        if not (was_finished or dry_run):
            bar.step("claims", manifest.records)
            claims, unnamed = asyncio.run(_restore(settings, folder, manifest, bar))
            bar.step("import", to_send)
            run.send(bar.tell)
            bar.step("read back", to_send)
            run.compare(bar.tell)
            run.finish(now_us())
        files, topic = run.digests()
        whole = not (was_finished or dry_run)
        return {
            "folder": str(folder),
            "export_id": manifest.export_id,
            "dry_run": dry_run,
            "already_imported": was_finished,
            "records": manifest.records,
            "were_there": had,
            "appended": to_send if whole else 0,
            "undated": run.dating.undated,
            "claims": claims,
            "unnamed": unnamed,
            "topics": [{"topic": settings.topic(it.name), "partitions": len(it.partitions), "records": it.records} for it in manifest.topics],
            "digest_files": files if whole else None,
            "digest_topics": topic if whole else None,
        }


async def _restore(settings: Settings, folder: Path, manifest: Manifest, bar: ProgressBar) -> tuple[int, int]:
    """Restore the identity tables; return how many changes of claims that took, and how many events do not name what they speak of."""
    async with connected(settings) as store:
        run = RestoringClaims(store, Codec())
        await run.restore(folder, manifest, bar.tell)
        return run.restored, run.unnamed


def _chosen(folder: Path, manifest: Manifest | None, topics: tuple[str, ...] | None) -> tuple[str, ...]:
    if manifest is None:
        return tuple(name for name in TOPICS if topics is None or name in topics)
    held = tuple(topic.name for topic in manifest.topics)
    if topics is not None and set(topics) != set(held):
        raise Refused(
            f"{folder} is an export of {', '.join(held)}: its topics must be of one moment.",
            reason="other_topics",
            next_step="leave --topic out to go on with it, or export into a folder of its own.",
        )
    return held


def _write(brokers: str, folder: Path, manifest: Manifest, workers: int, bar: ProgressBar) -> None:
    """Write what is missing, and the manifest after each segment."""
    todo = jobs(manifest)
    if not todo:
        return

    def written(one: Written) -> None:
        note(manifest, one, now_us())
        save(folder, manifest)

    bar.step("export", sum(job.until - job.first for job in todo))
    export(brokers, folder, todo, workers, written=written, tell=bar.tell)
