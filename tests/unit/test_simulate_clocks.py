"""`touchline simulate --policies`: clocks, what follows from them, as of when; and what it keeps where."""

import asyncio
import base64
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from connectors.centre import POLICIES
from projections.kernel import Subject
from projections.registry import GROUPS
from projections.service_levels import METRIC
from streams.store.memory import MemoryStore
from streams.store.port import CellValue, GroupVersion, RowWrite, StateRow
from touchline.commands import simulate, store
from touchline.errors import Misconfigured
from touchline.simulated_store import SimulatedStore

CARE = GROUPS["care"]
POLICY = """
clear_attributes = ["plan"]

[[calendar]]
id = "office"
timezone = "Europe/Berlin"
week = { mon = ["09:00-17:00"], tue = ["09:00-17:00"] }

[[policy]]
id = "gold"
when = 'conversation.attributes.plan == "gold"'
targets = { first_response = "30m" }

[[policy]]
id = "default"
when = 'channel == "email"'
calendar = "office"
targets = { first_response = "1h" }
"""
Run = Callable[..., Result]
Json = dict[str, Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs the command on lines of events, with `POLICY`, in an empty folder with a key file of known keys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOUCHLINE_KEY_FILE", str(tmp_path / "keys.json"))
    (tmp_path / "keys.json").write_text(json.dumps({"version": 1, "kek_id": "k-1", "keks": {"k-1": _secret(1)}, "index_key": _secret(2)}))
    (tmp_path / "keys.json").chmod(0o600)
    (tmp_path / "p.toml").write_text(POLICY)
    app = typer.Typer()
    app.callback()(lambda: None)
    store.register(app)
    simulate.register(app)

    def call(lines: Iterable[Json], *options: str, policies: str | Path = "p.toml") -> Result:
        (tmp_path / "day.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return CliRunner().invoke(app, ["simulate", "day.jsonl", "--policies", str(policies), *options])

    return call


def _secret(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


def asked(number: int = 1, time: str = "09:00:00", **fields: Any) -> Json:
    """Let the customer write a mail on Monday, 12 January 2026: at 10:00 in Berlin, if it is at nine."""
    envelope: Json = {name: fields.pop(name) for name in ("type", "appendedat") if name in fields}
    data = {
        "channel": "email",
        "direction": "inbound",
        "conversation_id": "c-9",
        "customer": [{"kind": "email", "value": "ann@example.org", "verified": True}],
        "actor": {"kind": "customer"},
        **fields,
    }
    told = {"specversion": "1.0", "id": f"m-{number}", "source": "/mail", "type": "message.received", "time": f"2026-01-12T{time}Z", "data": data}
    return {**told, **envelope}


def answered(number: int, time: str, **fields: Any) -> Json:
    said = {"type": "message.sent", "direction": "outbound", "actor": {"kind": "agent", "id": "ag-1", "team": "mail"}}
    return asked(number, time, **{**said, "visibility": "public", "author": "human", **fields})


def told(result: Result, kind: str) -> list[Json]:
    assert result.exception is None, result.output
    return [line for line in map(json.loads, result.stdout.splitlines()) if line["kind"] == kind]


def types(result: Result) -> list[str]:
    return [line["type"] for line in told(result, "effect") if line["type"].startswith("sla.")]


def test_a_clock_is_printed_in_the_public_form_breached_when_its_time_has_passed(run: Run) -> None:
    (clock,) = told(run([asked()], "--until", "2026-01-12T12:00:00Z", "--emit", "clocks"), "clock")
    assert clock.pop("customer_id")
    assert clock == {
        "kind": "clock",
        "conversation_id": "c-9",
        "metric": "first_response",
        "instance": 1,
        "state": "breached",
        "started_at": "2026-01-12T09:00:00Z",
        "due_at": "2026-01-12T10:00:00Z",
        "stopped_at": None,
        "consumed_s": 3600.0,
        "target_s": 3600,
        "policy": "default",
        "calendar": "office",
    }


def test_a_breach_is_an_effect_at_its_due_time_with_its_conversation_metric_instance_and_cause(run: Run) -> None:
    result = run([asked()], "--until", "2026-01-12T12:00:00Z", "--emit", "effects")
    (breach,) = [line for line in told(result, "effect") if line["type"] == "sla.breached"]
    said = {name: breach[name] for name in ("at", "conversation_id", "metric", "instance", "cause", "channel", "tenant")}
    assert said == {
        "at": "2026-01-12T10:00:00Z",
        "conversation_id": "c-9",
        "metric": "first_response",
        "instance": 1,
        "cause": "due",
        "channel": "email",
        "tenant": "default",
    }
    assert len(breach["id"]) == 36
    assert "header" not in breach


def test_until_says_as_of_when_a_running_clock_is_seen_and_what_it_has_consumed_in_open_time(run: Run) -> None:
    (clock,) = told(run([asked()], "--until", "2026-01-12T09:40:00Z", "--emit", "clocks"), "clock")
    assert (clock["state"], clock["consumed_s"]) == ("running", 2400.0)
    (clock,) = told(run([asked(1, "15:30:00")], "--until", "2026-01-13T08:00:00Z", "--emit", "clocks"), "clock")
    assert (clock["state"], clock["consumed_s"], clock["due_at"]) == ("running", 1800.0, "2026-01-13T08:30:00Z")


def test_without_until_timers_expire_up_to_the_last_append_time_and_the_settling_behind_it(run: Run) -> None:
    def states(*others: Json) -> list[str]:
        return [line["state"] for line in told(run([asked(), *others], "--emit", "clocks"), "clock") if line["conversation_id"] == "c-9"]

    elsewhere = {"conversation_id": "c-1", "customer": [{"kind": "email", "value": "bob@example.org"}], "channel": "portal"}
    assert states() == ["running"]
    assert states(asked(2, "09:58:59", **elsewhere)) == ["running"]
    assert states(asked(2, "09:59:00", **elsewhere)) == ["breached"]


def test_an_answer_at_the_due_time_is_in_time_and_one_after_it_leaves_the_clock_breached_and_stopped(run: Run) -> None:
    (met,) = told(run([asked(), answered(2, "10:00:00")], "--emit", "clocks"), "clock")
    assert (met["state"], met["stopped_at"], met["consumed_s"]) == ("met", "2026-01-12T10:00:00Z", 3600.0)
    (late,) = told(run([asked(), answered(2, "10:00:01")], "--emit", "clocks"), "clock")
    assert (late["state"], late["stopped_at"]) == ("breached", "2026-01-12T10:00:01Z")


def test_an_answer_that_arrives_late_but_was_in_time_takes_the_breach_back(run: Run) -> None:
    result = run([asked(), answered(2, "09:59:00", appendedat="2026-01-12T11:00:00Z")])
    assert [clock["state"] for clock in told(result, "clock")] == ["met"]
    assert sorted(kind for kind in types(result) if "breach" in kind) == ["sla.breach_retracted", "sla.breached"]


def test_attributes_that_the_file_leaves_clear_decide_which_policy_applies(run: Run) -> None:
    (clock,) = told(run([asked(attributes={"plan": "gold"})], "--emit", "clocks"), "clock")
    assert (clock["policy"], clock["target_s"], clock["calendar"]) == ("gold", 1800, "always")


def test_lines_of_all_kinds_stand_in_order_of_time_kind_and_id(run: Run) -> None:
    lines = [asked(n, f"09:{n:02d}:00", conversation_id=f"c-{n}") for n in range(1, 9)]
    result = run([*lines, answered(20, "09:30:00", conversation_id="c-3")], "--until", "2026-01-12T12:00:00Z")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    order = []
    for one in found:
        own, key = one.get("columns", {}), one.get("key", {})
        times = [key[name] for name in key if name.endswith("_at")] + [own[name] for name in ("last_at", "updated_at") if own.get(name)]
        if one["kind"] != "row" or times:
            order.append((one.get("at") or one.get("started_at") or times[0], one["kind"], one.get("id", "")))
    assert {"clock", "effect", "row"} == {one["kind"] for one in found}
    assert [(at, kind) for at, kind, _ in order if kind != "row"] == sorted((at, kind) for at, kind, _ in order if kind != "row")
    effects = [(at, id_) for at, kind, id_ in order if kind == "effect"]
    assert effects == sorted(effects)
    assert run([*lines], "--emit", "clocks").stdout_bytes == run([*lines], "--emit", "clocks").stdout_bytes


def test_figures_are_among_the_rows(run: Run) -> None:
    call = {"channel": "phone", "contact_id": "k-1", "conversation_id": "k-1"}
    lines = [
        asked(1, "09:00:00", **call, type="contact.queued", queue="billing", priority="normal"),
        asked(2, "09:00:07", **call, type="contact.abandoned", stage="queue"),
    ]
    (row,) = [line for line in told(run(lines, "--emit", "rows"), "row") if line["table"] == "figure"]
    assert (row["key"]["metric"], row["key"]["day"], row["key"]["queue"]) == (METRIC, "2026-01-12", "billing")
    assert row["key"]["slot"] == "2026-01-12T09:00:00Z"
    assert row["columns"]["sums"] == {"abandoned": 1, "offered": 1, "a:7": 1}


def test_what_is_not_asked_for_is_not_printed_and_clocks_are_the_same_whatever_stands_beside_them(run: Run) -> None:
    lines = [asked(), answered(2, "09:30:00")]
    alone = told(run(lines, "--emit", "clocks"), "clock")
    everything = run(lines, "--emit", "clocks,effects,rows,digest")
    assert told(everything, "clock") == alone
    assert {json.loads(line)["kind"] for line in run(lines, "--emit", "clocks").stdout.splitlines()} == {"clock"}
    assert [line["group"] for line in told(everything, "digest")] == list(GROUPS)
    assert told(run(lines, "--emit", "digest"), "digest") == told(run(lines, "--digest"), "digest") == told(everything, "digest")


def test_a_wrong_policy_file_is_refused_with_its_line_before_anything_is_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text(POLICY + '\n[[policy]]\nid = "x"\ntargets = { no_such_metric = "1h" }\n')
    result = run([asked()], policies="wrong.toml")
    assert isinstance(result.exception, Misconfigured)
    assert "wrong.toml:" in str(result.exception)
    assert "no_such_metric" in str(result.exception)
    assert not (tmp_path / "out.jsonl").exists()


def test_without_policies_there_are_no_clocks(run: Run, tmp_path: Path) -> None:
    (tmp_path / "none.toml").write_text("")
    assert run([asked()], "--emit", "clocks", policies="none.toml").stdout == ""


# -- where things are kept


def rows_of(table: str, *rows: tuple[str, dict[str, CellValue]], start: int = 1) -> list[RowWrite]:
    return [
        RowWrite(table, ("acme", "cu-1", projection) if projection else ("acme", "cu-1"), columns, start + n)
        for n, (projection, columns) in enumerate(rows)
    ]


def test_states_on_disk_answer_as_states_in_memory() -> None:
    common: dict[str, CellValue] = {"recent_ids": b"12345678", "applied_partition": 0, "applied_offset": 7, "appended_us": 9}
    writes = [
        rows_of("care_v1_state", ("sla", {"state": b"one", **common, "timers": b"t"}), ("desk", {"state": b"two"})),
        rows_of("care_v1_state", ("sla", {"state": b"three"}), ("", {**common, "applied_offset": 8}), start=10),
    ]
    stores = [MemoryStore(CARE.tables()), SimulatedStore(CARE.tables(), frozenset({"clock_v1"}))]
    subjects = [Subject("acme", "cu-1"), Subject("acme", "cu-2"), Subject("cme", "cu-1")]
    answers: list[dict[Subject, StateRow]] = []
    for one in stores:
        for rows in writes:
            asyncio.run(one.write(rows))
        answers.append(asyncio.run(one.load_states(GroupVersion("care", 1), subjects)))
        assert asyncio.run(one.load_states(GroupVersion("view", 1), subjects)) == {} if one is stores[1] else True
        asyncio.run(one.close())
    assert answers[0] == answers[1]
    assert answers[1][subjects[0]] == StateRow({"sla": b"three", "desk": b"two"}, b"12345678", 0, 8, 9, b"t")


def test_a_subject_that_has_no_state_but_was_read_is_found_too() -> None:
    common: dict[str, CellValue] = {"recent_ids": b"", "applied_partition": 0, "applied_offset": 7, "appended_us": 9}
    one = SimulatedStore(CARE.tables(), frozenset())
    asyncio.run(one.write(rows_of("care_v1_state", ("", common))))
    found = asyncio.run(one.load_states(GroupVersion("care", 1), [Subject("acme", "cu-1")]))
    asyncio.run(one.close())
    assert found[Subject("acme", "cu-1")].applied_offset == 7


def test_rows_that_nobody_will_print_are_not_kept() -> None:
    one = SimulatedStore(CARE.tables(), frozenset({"clock_v1"}))
    key = ("acme", "cu-1", "c-1", "first_response", 1)
    figure = RowWrite("figure_v1", ("acme", METRIC, "2026-01-12", 0, "billing", "phone", 0), {"applied_offset": 1}, 1)
    asyncio.run(one.write([RowWrite("clock_v1", key, {"state": "met"}, 1), figure]))
    assert asyncio.run(one.scan("clock_v1")) == []
    assert len(asyncio.run(one.scan("figure_v1"))) == 1
    asyncio.run(one.close())


def test_the_centres_rules_run_over_a_file(run: Run) -> None:
    (clock,) = told(run([asked()], "--emit", "clocks", "--until", "2026-01-12T09:10:00Z", policies=POLICIES), "clock")
    assert (clock["policy"], clock["target_s"]) == ("mail", 3600)
