"""Records of an export beside those of a topic: what an import makes of a record, and whether it is there. Values only."""

import hashlib
import struct
from typing import Any

import msgspec

from schemas.codec import Codec, Undecodable
from streams.records import RawRecord
from touchline.errors import Refused

__all__ = ["Comparison", "Dating"]

_place = struct.Struct(">qqii").pack


class Dating:
    """Sets a record's append time in its header, where it has none yet; counts what became of records.

    `dated` were set, `kept` had one, `undated` cannot be read (or have no room for it) and go as they are.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.dated = self.kept = self.undated = 0

    def value(self, record: RawRecord) -> bytes:
        """Return the record's value as it is to be appended. Hot path: 9 µs."""
        head = self._codec.head(record.value)
        if isinstance(head, Undecodable):
            self.undated += 1
            return record.value
        if head.header.appended_at_us is not None:
            self.kept += 1
            return record.value
        try:
            value = self._codec.rehead(head, msgspec.structs.replace(head.header, appended_at_us=record.appended_us))
        except Refused:  # it is as large as a record may be
            self.undated += 1
            return record.value
        self.dated += 1
        return value


class Comparison:
    """One partition of the files beside the same one of the topic, as far as they were compared, with the SHA-256 of either."""

    def __init__(self) -> None:
        self.at = 0
        self.files = hashlib.sha256()
        self.topic = hashlib.sha256()

    def takes(self, record: RawRecord | None, file: RawRecord | None, dating: Dating) -> bool:
        """Take one record of each; False if they are not the same one, or one is missing."""
        if record is None or file is None:
            return False
        value = dating.value(file)
        if (record.offset, record.key, record.value) != (file.offset, file.key, value):
            return False
        _feed(self.files, file.offset, file.appended_us, file.key, value)
        _feed(self.topic, record.offset, file.appended_us, record.key, record.value)
        self.at += 1
        return True


def _feed(digest: Any, offset: int, appended_us: int, key: bytes | None, value: bytes) -> None:  # noqa: ANN401 - hashlib's own type is private
    digest.update(_place(offset, appended_us, -1 if key is None else len(key), len(value)) + (key or b"") + value)
