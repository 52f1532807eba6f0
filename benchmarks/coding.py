"""The codec alone: µs to read a header, the rest, or a whole record; fastavro beside it."""

import time
from collections.abc import Callable
from io import BytesIO

import fastavro

from benchmarks.figures import Figure, Section
from benchmarks.material import job_log
from schemas.codec import Codec, Head
from schemas.events import MessageReceived
from schemas.ids import Ids

__all__ = ["coding"]

_RECORDS = 2000
_ROUNDS = 9
_FRAME = 5


def coding() -> Section:
    """Measure the codec over records of the benchmark job; CPU of this thread, each round one value."""
    codec = Codec()
    raws = [value for _, value in job_log(_RECORDS)]
    heads = [head for raw in raws if isinstance(head := codec.head(raw), Head)]
    schema = fastavro.parse_schema(Ids.load().by_name()[MessageReceived.FULL_NAME][-1].full())
    figures = (
        _figure("head", lambda: [codec.head(raw) for raw in raws]),
        _figure("body behind a head", lambda: [codec.body(head) for head in heads]),
        _figure("decode (head and body)", lambda: [codec.decode(raw) for raw in raws]),
        _figure("rehead (the resolver's)", lambda: [codec.rehead(head, head.header) for head in heads]),
        _figure("fastavro, whole record to a dict", lambda: [fastavro.schemaless_reader(BytesIO(raw[_FRAME:]), schema, None) for raw in raws]),
    )
    size = sum(map(len, raws)) / len(raws)
    note = f"A header alone takes {100 * figures[0].median / figures[2].median:.0f} % of the whole; records of {size:.0f} bytes."
    return Section("codec", "Codec, one record", figures, notes=(note,))


def _figure(name: str, work: Callable[[], object]) -> Figure:
    work()
    values = []
    for _ in range(_ROUNDS):
        began = time.thread_time()
        work()
        values.append((time.thread_time() - began) / _RECORDS * 1e6)
    return Figure(name, "µs", tuple(values))
