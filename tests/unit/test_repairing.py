"""What the commands of repair say of customers, over a store and a log in memory."""

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from projections.customer import Customer
from projections.kernel import Moment, Step
from schemas.events import PrivacyErased
from schemas.record import Event
from streams.log.reader import LogReader
from streams.log.simulation import LogSimulation
from streams.records import Batch
from streams.store.catalogue import known_tables
from streams.store.memory import MemoryStore
from streams.store.port import GroupVersion
from streams.versions.versions import Versions
from tests.support.commands import runner
from tests.support.customer_log import CARE, CODEC, MINUTE, VIEW, Log, asked, header
from touchline.commands import parked
from touchline.errors import Refused
from touchline.repairing import Repair, Request
from touchline.settings import Settings

V1 = GroupVersion("view", 1)


class Read(Log):
    """The log, with its ends."""

    def range_of(self, partition: int) -> tuple[int, int]:
        return (0, len(self.kept)) if partition == 0 else (0, 0)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Give the ids of events that the view cannot fold; empty it to mend the code."""
    found: set[str] = set()
    apply = Customer.apply

    def fails(self: Any, state: Any, event: Event, at: Moment) -> Step[Any]:
        if event.header.id in found:
            raise KeyError(f"secret of {event.header.id}")
        return apply(self, state, event, at)

    monkeypatch.setattr(Customer, "apply", fails)
    return found


@pytest.fixture
def here(faults: set[str], tmp_path: Path) -> tuple[Repair, MemoryStore, Read]:
    """Give an operator, and one customer who is parked in the view for the second of three records."""
    log, into = Read(), MemoryStore(known_tables())
    run = LogSimulation([VIEW, CARE], into, CODEC, tenant="acme", cached_subjects_max=100)
    faults.add("poison")
    for id_ in ("first", "poison", "third"):
        asked(log, id_)
    asyncio.run(run.feed(Batch(0, log.kept, topic="log")))
    asyncio.run(Versions(into).begin(V1, 1))
    reader: LogReader = log  # type: ignore[assignment]
    settings = Settings(tenant="acme", key_file=tmp_path / "keys.json")
    return Repair(settings, into, reader, tenant="acme", actor="op-1"), into, log


def test_it_is_said_why_a_customer_waits_by_lines_of_code_and_never_by_the_text(here: tuple[Repair, MemoryStore, Read]) -> None:
    repair, _, _ = here
    [waiting] = asyncio.run(repair.of(["c1"], "view", None))
    found = asyncio.run(repair.explain(waiting))
    assert found.failure is not None
    assert (found.failure.reason, found.records, found.place) == ("raised:KeyError", 1, (0, 1))
    assert found.failure.frames[-1].startswith("unit/test_repairing.py:")
    assert not any("secret" in frame for frame in found.failure.frames)
    assert repair.id_of(found) == "poison"


def test_mended_code_says_that_it_would_fold_now(here: tuple[Repair, MemoryStore, Read], faults: set[str]) -> None:
    repair, _, _ = here
    faults.clear()
    [waiting] = asyncio.run(repair.waiting("view", 1))
    found = asyncio.run(repair.explain(waiting))
    assert (found.failure, found.place, found.record, found.records) == (None, None, None, 3)
    assert repair.id_of(found) is None


def test_a_dry_run_says_what_would_change_and_changes_nothing(here: tuple[Repair, MemoryStore, Read]) -> None:
    repair, into, _ = here
    before = {table.physical: asyncio.run(into.scan(table.physical)) for table in known_tables() if not table.keyspace}
    folds = asyncio.run(repair.folds(Request(V1, "c1", 0, "drop", ("poison",), "test")))
    assert folds.after.failure is None
    assert [one.id for one in folds.excluded] == ["poison"]
    changed = {(one.table, one.column) for one in repair.differences(V1, folds)}
    assert ("timeline", "") in changed  # the third record has a row then
    assert {table: asyncio.run(into.scan(table)) for table in before} == before


def test_who_is_not_parked_or_not_known_is_refused(here: tuple[Repair, MemoryStore, Read]) -> None:
    repair, _, _ = here
    with pytest.raises(Refused, match="No customer c9 of tenant acme is parked in view"):
        asyncio.run(repair.of(["c1", "c9"], "view", None))
    with pytest.raises(Refused, match="There is no record of a customer c9"):
        asyncio.run(repair.partition_of("c9"))
    with pytest.raises(Refused, match="Customer c1 has no record m-9"):
        asyncio.run(repair.check_excluded("c1", ["first", "m-9"]))
    asyncio.run(repair.check_excluded("c1", ["first", "poison", "@0:2"]))
    assert asyncio.run(repair.partition_of("c1")) == 0


def test_an_erasure_cannot_be_left_out(faults: set[str], tmp_path: Path) -> None:
    log, into = Read(), MemoryStore(known_tables())
    faults.clear()
    run = LogSimulation([VIEW], into, CODEC, tenant="acme", cached_subjects_max=100)
    asked(log, "first")
    log.put(PrivacyErased(header=header("gone", 2 * MINUTE), customer="c1", erasure="er-1", reason="asked"))
    asyncio.run(run.feed(Batch(0, log.kept, topic="log")))
    asyncio.run(Versions(into).begin(V1, 1))
    reader: LogReader = log  # type: ignore[assignment]
    repair = Repair(Settings(tenant="acme", key_file=tmp_path / "keys.json"), into, reader, tenant="acme", actor="op-1")
    for id_ in ("gone", "@0:1"):
        with pytest.raises(Refused, match="was forgotten"):
            asyncio.run(repair.check_excluded("c1", ["first", id_]))


def test_every_version_that_runs_executes_a_rebuild_that_names_none(here: tuple[Repair, MemoryStore, Read]) -> None:
    repair, into, _ = here
    assert asyncio.run(repair.running("view", 0)) == [V1]
    assert asyncio.run(repair.running("care", 0)) == []
    asyncio.run(Versions(into).add(GroupVersion("view", 7), 2))
    assert asyncio.run(repair.running("view", 0)) == [V1]
    assert asyncio.run(repair.running("view", 7)) == [GroupVersion("view", 7)], "a build comes to it too"


def test_a_version_that_is_not_there_is_refused_before_anything_is_appended(here: tuple[Repair, MemoryStore, Read]) -> None:
    repair, into, _ = here
    retired = GroupVersion("view", 8)
    asyncio.run(Versions(into).add(retired, 2))
    asyncio.run(Versions(into).move(retired, "building", "retired", 3))
    for version in (GroupVersion("view", 9), retired, GroupVersion("care", 1)):
        with pytest.raises(Refused, match=f"No {version.group} v{version.version} runs here") as refused:
            asyncio.run(repair.do([Request(version, "c1", 0, "rebuild", (), "test")], 0))  # there is no broker: what was produced would be said
        assert refused.value.reason == "no_version"


def test_the_list_names_group_customer_place_and_reason(
    here: tuple[Repair, MemoryStore, Read], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, into, _ = here
    monkeypatch.setattr("touchline.repairing.connected", _connected(into))
    run = runner("parked", parked.register, into, monkeypatch, tmp_path)
    shown = run("list")
    assert shown.exit_code == 0, shown.output
    assert "view.v1  c1        0/1          2  raised:KeyError" in shown.output
    [one] = json.loads(run("list", "--group", "view@1", "--json").output)
    assert (one["group"], one["customer"], one["since"], one["waiting"]) == ("view.v1", "c1", "0/1", 2)
    assert json.loads(run("list", "--group", "care", "--json").output) == []
    assert "Nobody is parked." in run("list", "--group", "care").output
    assert run("retry", "view").exit_code == 2
    assert run("retry", "view", "c1", "--all").exit_code == 2


def _connected(store: MemoryStore) -> Any:
    @asynccontextmanager
    async def connected(_: Settings) -> Any:
        yield store

    return connected
