"""States and checkpoints as rows: what the engine reads back from what it wrote."""

from collections.abc import Iterable, Sequence

from projections.kernel import Subject
from streams.store.columns import Row, blob, integer, text
from streams.store.port import Checkpoint, GroupVersion, RowWrite, StateRow

__all__ = ["checkpoint_row", "checkpoints", "state_row", "state_table_name", "subject_partition"]


def state_table_name(group: GroupVersion) -> str:
    """Return the physical name of a group's state table."""
    return f"{group.group}_v{group.version}_state"


def subject_partition(subject: Subject) -> dict[str, str | int]:
    """Return the partition key of a subject's states."""
    return {"tenant": subject.tenant, "subject": subject.id}


def state_row(rows: Sequence[Row]) -> StateRow | None:
    """Fold what a read of one partition of a state table returned; None if there is nothing."""
    if not rows:
        return None
    first = rows[0]
    return StateRow(
        blobs={text(row, "projection"): blob(row, "state") for row in rows if row["projection"] is not None and row["state"] is not None},
        recent_ids=blob(first, "recent_ids", b""),
        applied_partition=integer(first, "applied_partition", -1),
        applied_offset=integer(first, "applied_offset", -1),
        appended_us=integer(first, "appended_us", 0),
        timers=blob(first, "timers", b""),
        ties=blob(first, "ties", b""),
    )


def checkpoint_row(group: GroupVersion, partition: int, checkpoint: Checkpoint) -> RowWrite:
    """Return the row that says how far a group version has come; its timestamp keeps an older one from overwriting it."""
    return RowWrite(
        "projection_checkpoint",
        (group.group, group.version, partition),
        {
            "next_offset": checkpoint.next_offset,
            "write_ts": checkpoint.write_ts_us,
            "active": checkpoint.active,
            "event_time": checkpoint.event_time_us,
            "oldest_timer_bucket": checkpoint.oldest_timer_bucket,
            "importing": checkpoint.importing,
        },
        checkpoint.write_ts_us,
    )


def checkpoints(rows: Iterable[Row]) -> dict[int, Checkpoint]:
    """Return the checkpoints of a group version by partition."""
    return {
        integer(row, "partition"): Checkpoint(
            next_offset=integer(row, "next_offset"),
            write_ts_us=integer(row, "write_ts"),
            active=bool(row["active"]),
            event_time_us=integer(row, "event_time"),
            oldest_timer_bucket=integer(row, "oldest_timer_bucket", 0),
            importing=bool(row["importing"]),
        )
        for row in rows
    }
