"""What could not be accepted: reading the quarantine topic, newest first, and sending what was mended as a new event.

Raw payloads are not kept, so whoever mends an input brings it again, whole, in the public form; what is known of it is in `template`.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple
from uuid import NAMESPACE_URL, uuid5

import msgspec

from connectors.checks import VULNERABILITY_DAYS_MAX, check
from connectors.contract import Draft, Rejected
from connectors.files import Chunk, Input
from connectors.public import PublicReader
from schemas.codec import Codec, Head, Undecodable
from schemas.events import Quarantined
from schemas.speakers import is_internal
from streams.log.newest import Newest
from streams.log.reader import LogReader
from streams.plain import utc
from streams.records import RawRecord
from touchline.errors import Misconfigured, Refused

__all__ = ["SOURCE", "Found", "Reports", "mended", "offered", "original", "template"]

SOURCE: Final = "/touchline/quarantine"
"""The source under which the manifest keeps what was mended; events keep the sources that they name."""

FILE_BYTES_MAX: Final = 2 * 1024 * 1024
"""No event is as large as this."""


class Found(NamedTuple):
    """One report, and where it lies on the quarantine topic."""

    report: Quarantined
    partition: int
    offset: int


class Reports:
    """Reads the reports of one installation backwards. Blocking."""

    def __init__(self, reader: LogReader, codec: Codec, partitions: int) -> None:
        self._reader = reader
        self._codec = codec
        self._partitions = partitions

    def newest(self, limit: int, *, since_us: int | None = None, wanted: Callable[[Quarantined], bool] = lambda _: True) -> list[Found]:
        """Return the newest reports that are wanted, at most `limit`; of several with one id the newest.

        Raises `Retryable` if no broker answers, `Misconfigured` if there is no such topic.
        """
        if not self._partitions:
            raise Misconfigured(f"there is no topic {self._reader.topic}.", next_step="run `touchline topics create`.")

        def read(record: RawRecord) -> Quarantined | None:
            report = self._codec.decode(record.value)
            return report if isinstance(report, Quarantined) and wanted(report) else None

        newest = Newest(self._reader, read, at_us=lambda report: report.at_us, id_of=lambda report: report.id)
        return [Found(*one) for one in newest.of(self._partitions, limit, since_us)]

    def find(self, id_: str) -> Found:
        """Return the newest report of this id. Raises `Refused` if there is none."""
        found = self.newest(1, wanted=lambda report: report.id == id_)
        if not found:
            raise Refused(
                f"Nothing with the id {id_} is in quarantine.",
                reason="unknown_report",
                next_step="take the whole id from `touchline quarantine list`; reports are kept for 90 days.",
            )
        return found[0]


def original(report: Quarantined, reader: LogReader) -> RawRecord | None:
    """Return the record that was quarantined, read from its own topic; None if that no longer keeps it. Raises `Retryable`."""
    if report.partition is None or report.offset is None:
        return None
    try:
        return next(iter(reader.records(report.partition, [report.offset])), None)
    except Misconfigured:  # older than the topic's retention
        return None


def template(report: Quarantined, record: RawRecord | None, codec: Codec) -> dict[str, Any]:
    """Return an event in the public form with what is known; what must be filled in is null or empty.

    Its id is a new one, the same for every mending of this report.
    """
    head = None if record is None else codec.head(record.value)
    known = head if isinstance(head, Head) and not is_internal(head.type.TYPE) else None
    data: dict[str, Any] = {"channel": None, "direction": None, "customer": [{"kind": None, "value": None}]}
    form: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(uuid5(NAMESPACE_URL, f"touchline/mended/{report.tenant}/{report.source}/{report.id}")),
        "source": report.source,
        "type": None,
        "time": None,
        "tenant": report.tenant or None,
        "data": data,
    }
    if known is None:
        return form
    header = known.header
    form |= {"type": known.type.TYPE, "time": utc(header.occurred_at_us)}
    data |= {"channel": header.channel, "direction": header.direction}
    data |= {name: value for name in ("conversation_id", "case_id", "contact_id") if (value := getattr(header, name)) is not None}
    data["actor"] = {"kind": header.actor_kind, "id": header.actor_id, "team": header.actor_team, "role": header.actor_role}
    body = codec.body(known)
    if not isinstance(body, Undecodable):
        data |= _own(body)
    return form


def _own(event: msgspec.Struct) -> dict[str, Any]:
    """Return a type's own clear fields by their public names: times are RFC 3339 and lose the `_us` of their names."""
    own: dict[str, Any] = {}
    for field in msgspec.structs.fields(event):
        value, name = getattr(event, field.name), field.encode_name
        if name in {"header", "sealed", "sealed_key"} or value is None or value == {}:
            continue
        own |= {name.removesuffix("_us"): utc(value)} if name.endswith("_us") else {name: value}
    return own


def mended(
    text: bytes, report: Quarantined, *, tenant: str, now_us: int, future_max_s: int, vulnerability_days_max: int = VULNERABILITY_DAYS_MAX
) -> Draft | Rejected:
    """Return the event of a file as it is to be sent, correcting the report's; or why it is still refused. `now_us` is now."""
    if len(text) > FILE_BYTES_MAX:
        return Rejected("refused", "too_large", f"it has more than {FILE_BYTES_MAX} bytes.")
    draft = PublicReader(tenant=tenant).read(text, 1)
    if isinstance(draft, Rejected):
        return draft
    if draft.corrects not in {None, report.id}:
        return Rejected("refused", "contradictory", f"data.corrects: it corrects another event than {report.id}.")
    draft = msgspec.structs.replace(draft, corrects=report.id)
    return check(draft, now_us=now_us, future_max_s=future_max_s, vulnerability_days_max=vulnerability_days_max) or draft


def offered(draft: Draft) -> Input:
    """Return a mended event as the importer takes it."""
    slots: list[Draft | Rejected] = [draft]
    return Input(SOURCE, iter([Chunk(slots, [None], 1)]), 1, "records")
