"""The committed ids: which schema a record on an internal topic was written with. `schemas/ids.json`, append-only for ever.

The file holds each version of the header once (`headers`, counted from 1) and per id, counted from 1, the record's name, the
number of its header (absent for records without one), the schema of what lies behind the header and a fingerprint: the first 16 hex
digits of the SHA-256 of the whole schema as compact JSON. `doc` and `pii` are left out: they change neither bytes nor resolution,
so mending a sentence makes no new id.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import msgspec

from schemas.avsc import HEADER, Json, bare, definitions, expand, is_event, tail
from touchline.errors import Misconfigured

__all__ = ["PATH", "Committed", "Ids", "committed_form", "fingerprint"]

PATH = Path(__file__).parent / "ids.json"


class Committed(msgspec.Struct, frozen=True):
    """One id: the record's full name, its header's schema (None without one) and the schema of the rest, both self-contained."""

    id: int
    name: str
    header: Json
    tail: Json
    fingerprint: str

    def full(self) -> Json:
        """Return the whole record's schema, self-contained: header first, types named by the tail only once."""
        if self.header is None:
            return self.tail
        first = {"name": "header", "type": self.header}
        return expand({**self.tail, "fields": [first, *self.tail["fields"]]}, {})


class Ids:
    """All ids in order. Values of `by_name` are a record's ids, oldest first; the last one is the current one."""

    def __init__(self, entries: Iterable[Committed] = ()) -> None:
        self.entries = list(entries)

    @classmethod
    def load(cls, path: Path = PATH) -> "Ids":
        """Read and verify the file: ids contiguous from 1, fingerprints right. Raises `Misconfigured` saying which id is wrong."""
        try:
            content = json.loads(path.read_text("utf-8"))
            headers = content["headers"]
            entries = [_entry(row, headers) for row in content["schemas"]]
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise Misconfigured(f"{path} cannot be read ({type(error).__name__}: {error}).", next_step=_RESTORE) from error
        for number, entry in enumerate(entries, start=1):
            if entry.id != number:
                raise Misconfigured(f"{path}: id {number} is missing; {entry.id} stands in its place.", next_step=_RESTORE)
            if entry.fingerprint != fingerprint(entry.full()):
                raise Misconfigured(f"{path}: the schema of id {entry.id} ({entry.name}) was changed.", next_step=_RESTORE)
        return cls(entries)

    def by_name(self) -> dict[str, list[Committed]]:
        """Return the entries by full name, oldest first."""
        found: dict[str, list[Committed]] = {}
        for entry in self.entries:
            found.setdefault(entry.name, []).append(entry)
        return found

    def extended(self, current: dict[str, tuple[Json, Json]]) -> "Ids":
        """Return these ids and a new one for each record whose committed form (header, tail) is not its latest."""
        entries = list(self.entries)
        latest = {entry.name: entry for entry in entries}
        for name, (header, rest) in sorted(current.items()):
            if name not in latest or (latest[name].header, latest[name].tail) != (header, rest):
                entry = Committed(len(entries) + 1, name, header, rest, "")
                entries.append(msgspec.structs.replace(entry, fingerprint=fingerprint(entry.full())))
        return Ids(entries)

    def text(self) -> str:
        """Return the file's text: one line per header version and per id, so that a diff shows what was appended."""
        headers: list[Json] = []
        rows = []
        for entry in self.entries:
            row: dict[str, Json] = {"id": entry.id}
            if entry.header is not None:
                if entry.header not in headers:
                    headers.append(entry.header)
                row["header"] = headers.index(entry.header) + 1
            rows.append(_compact({**row, "fingerprint": entry.fingerprint, "schema": entry.tail}))
        return '{\n"headers": [\n' + ",\n".join(map(_compact, headers)) + '\n],\n"schemas": [\n' + ",\n".join(rows) + "\n]\n}\n"


def committed_form(schemas: list[Json]) -> dict[str, tuple[Json, Json]]:
    """Return (header, tail) of every record in these `.avsc` schemas by full name, bare and self-contained; the header itself has none."""
    known = definitions(schemas)
    header = bare(expand(known[HEADER], known)) if HEADER in known else None
    return {
        schema["name"]: (header if is_event(schema) else None, bare(expand(tail(schema), known))) for schema in schemas if schema["name"] != HEADER
    }


def fingerprint(schema: Json) -> str:
    """Return the first 16 hex digits of the SHA-256 of the schema as compact JSON with sorted keys."""
    text = json.dumps(schema, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _entry(row: dict[str, Json], headers: list[Json]) -> Committed:
    header = headers[row["header"] - 1] if "header" in row else None
    return Committed(row["id"], row["schema"]["name"], header, row["schema"], row["fingerprint"])


_RESTORE = "the file is append-only: restore it from version control and run `touchline schemas generate`."


def _compact(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
