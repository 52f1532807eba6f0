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
    """Measure the codec over records of the benchmark job; CPU of this thread. Each round runs everything once, so that noise hits all alike."""
    codec = Codec()
    raws = [value for _, value in job_log(_RECORDS)]
    heads = [head for raw in raws if isinstance(head := codec.head(raw), Head)]
    schema = fastavro.parse_schema(Ids.load().by_name()[MessageReceived.FULL_NAME][-1].full())
    works: dict[str, Callable[[], object]] = {
        "head": lambda: [codec.head(raw) for raw in raws],
        "body behind a head": lambda: [codec.body(head) for head in heads],
        "decode (head and body)": lambda: [codec.decode(raw) for raw in raws],
        "rehead (the resolver's)": lambda: [codec.rehead(head, head.header) for head in heads],
        "fastavro, whole record to a dict": lambda: [fastavro.schemaless_reader(BytesIO(raw[_FRAME:]), schema, None) for raw in raws],
    }
    rounds = [{name: _cost_us(work) for name, work in works.items()} for _ in range(_ROUNDS + 1)][1:]
    figures = tuple(Figure(name, "µs", tuple(found[name] for found in rounds)) for name in works)
    size = sum(map(len, raws)) / len(raws)
    note = f"A header alone takes {100 * figures[0].median / figures[2].median:.0f} % of the whole; records of {size:.0f} bytes."
    return Section("codec", "Codec, one record", figures, notes=(note,))


def _cost_us(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return (time.thread_time() - began) / _RECORDS * 1e6
