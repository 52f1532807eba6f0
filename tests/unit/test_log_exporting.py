"""Several processes of an export: what they tell their parent, and what becomes of it."""

from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from streams.log import exporting as log_exporting
from streams.log.export import Job, Written
from streams.log.files import Segment, unwritable
from streams.log.reader import LogReader
from touchline.errors import Misconfigured, Refused, Retryable, TouchlineError

JOB = Job("e-1", "interaction", "t.interaction.v1", 0, 0, 5)
ONE = Written("interaction", 0, Segment("f", 0, 4, 5, 100, "ab"), (1,), "cd")


class Ended:
    """A process that has ended."""

    exitcode = -9

    def join(self) -> None:
        """Return at once."""


def heard(parent: Connection, running: dict[Connection, Ended]) -> list[object]:
    """Hear everything that was said; return it."""
    found: list[object] = []
    while running:
        log_exporting._hear(parent, running, found.append, found.append)  # type: ignore[arg-type]
    return found


def worked(monkeypatch: pytest.MonkeyPatch, folder: Path, said: list[object]) -> tuple[Connection, dict[Connection, Ended]]:
    """Let a process do its work, in which this comes up: a segment, a count, an error."""
    ours, theirs = Pipe(duplex=False)

    def exported(*_: object) -> object:
        for one in said:
            if isinstance(one, Exception):
                raise one
            yield one

    monkeypatch.setattr(log_exporting, "_exported", exported)
    monkeypatch.setattr(log_exporting.signal, "signal", lambda *_: None)
    log_exporting._work(theirs, "nowhere.invalid:9", folder, [JOB])
    theirs.close()
    return ours, {ours: Ended()}


def test_segments_are_told_and_then_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert heard(*worked(monkeypatch, tmp_path, [ONE, 7])) == [ONE, 7]


@pytest.mark.parametrize(
    "error",
    [
        unwritable(Path("x"), OSError(28, "No space left on device")),
        Refused("what", reason="log_has_gaps", next_step="that"),
        Misconfigured("what", next_step="that"),
        Retryable("what", next_step="that"),
        TouchlineError("what", next_step="that"),
    ],
)
def test_an_error_is_the_same_one_in_the_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: TouchlineError) -> None:
    """Its kind, which is the exit code; its words; its next step."""
    with pytest.raises(type(error)) as found:
        heard(*worked(monkeypatch, tmp_path, [ONE, error]))
    assert str(found.value) == str(error)
    assert getattr(found.value, "reason", "") == getattr(error, "reason", "")


def test_other_trouble_with_the_disk_is_told_in_our_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="cannot be written: input/output error") as found:
        heard(*worked(monkeypatch, tmp_path, [OSError(5, "Input/output error")]))
    assert found.value.reason == "unwritable"


def test_a_process_that_dies_is_noticed() -> None:
    """Killed, it says nothing."""
    ours, theirs = Pipe(duplex=False)
    theirs.close()
    with pytest.raises(TouchlineError, match=r"ended by itself \(exit -9\)"):
        heard(ours, {ours: Ended()})


def test_a_reader_that_was_left_early_is_closed_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    """As when the disk is full: the generator is still there when the reader is closed."""
    with LogReader("127.0.0.1:1", "t") as reader:
        reader.range_of = lambda _: (0, 10)  # type: ignore[method-assign]
        reader._next = lambda *_: []  # type: ignore[method-assign]
        batches = reader.batches(0, 0, 10, records_max=0)
        assert next(batches).records == []
    del batches
    assert capsys.readouterr().err == ""
