"""How records of one committed id are read: made once per id, so that nothing is looked up or parsed per record."""

from schemas.ids import Committed
from schemas.names import Classes
from schemas.reader import RecordReader, RecordWriter, reader_of, writer_of

__all__ = ["HeaderPlan", "Plan"]


class HeaderPlan:
    """How one version of the header is read as today's class, and written: shared by all ids that have it."""

    __slots__ = ("read", "write")

    def __init__(self, entry: Committed, current: Committed, classes: Classes) -> None:
        self.read: RecordReader = reader_of(entry.header, current.header, classes)
        self.write: RecordWriter = writer_of(entry.header, current=entry.header == current.header)


class Plan:
    """One id: today's class, the five bytes before a record, and what reads its parts. `header` is None for records without one."""

    __slots__ = ("body", "cls", "frame", "header", "id", "name")

    def __init__(self, entry: Committed, current: Committed, classes: Classes, header: HeaderPlan | None) -> None:
        self.id = entry.id
        self.name = entry.name
        self.cls = classes[entry.name]
        self.frame = b"\x00" + entry.id.to_bytes(4, "big")
        self.header = header
        self.body: RecordReader = reader_of(entry.tail, current.tail, classes)
