"""`touchline simulate` from end to end on small files: rows, effects, counts, digests; and the sorting of its output."""

import base64
import io
import json
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from projections.customer import Customer
from projections.kernel import Moment, Step
from projections.registry import GROUPS
from schemas.record import Event
from touchline.commands import simulate, store
from touchline.emitting import Output, SortedLines
from touchline.errors import Refused, TouchlineError
from touchline.opening import customer_of
from touchline.settings import load_settings

Run = Callable[..., Result]
MAIL = "ann@example.org"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs the command in an empty folder with a key file of known keys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOUCHLINE_KEY_FILE", str(tmp_path / "keys.json"))
    keys = {"version": 1, "kek_id": "k-1", "keks": {"k-1": _secret(1)}, "index_key": _secret(2)}
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    (tmp_path / "keys.json").chmod(0o600)
    app = typer.Typer()
    app.callback()(lambda: None)
    store.register(app)
    simulate.register(app)

    def call(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, ["simulate", *map(str, arguments)])

    return call


def _secret(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


def line(number: int, time: str = "09:00:00", **fields: Any) -> dict[str, Any]:
    """Return one event in the public form; `fields` go into `data`, those of the envelope where they belong."""
    envelope: dict[str, Any] = {name: fields.pop(name) for name in ("type", "appendedat", "tenant", "source", "id") if name in fields}
    data = {
        "channel": "email",
        "direction": "inbound",
        "conversation_id": "c-9",
        "customer": [{"kind": "email", "value": MAIL, "verified": True}],
        "actor": {"kind": "customer"},
        "text": f"Personal words {number}",
        **fields,
    }
    told = {"specversion": "1.0", "id": f"m-{number}", "source": "/mail", "type": "message.received", "time": f"2026-01-12T{time}Z", "data": data}
    return {**told, **envelope}


def written(path: Path, *lines: Mapping[str, Any] | str) -> Path:
    path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines))
    return path


def said(result: Result) -> list[dict[str, Any]]:
    assert result.exception is None, result.output
    return [json.loads(one) for one in result.stdout.splitlines()]


def rows(result: Result, table: str) -> list[dict[str, Any]]:
    return [one for one in said(result) if one["kind"] == "row" and one["table"] == table]


def digest(result: Result) -> str:
    found = said(result)[0]
    assert (found["kind"], found["group"], found["version"]) == ("digest", "view", 1)
    return str(found["digest"])


def test_a_file_becomes_the_rows_that_readers_see_and_the_last_snapshot(run: Run, tmp_path: Path) -> None:
    result = run(written(tmp_path / "day.jsonl", line(1), line(2, "09:10:00", channel="phone")))
    assert [row["key"]["event_id"] for row in rows(result, "timeline")] == ["m-1", "m-2"]
    assert {row["key"]["facet"].partition(":")[0] for row in rows(result, "customer")} == {
        "contact", "handle", "last_contacts", "open_conversations", "preferences",
    }  # fmt: skip
    [conversation] = rows(result, "conversation")
    assert conversation["columns"]["channels"] == ["email", "phone"]
    assert conversation["columns"]["opened_at"] == "2026-01-12T09:00:00Z"
    [effect] = [one for one in said(result) if one["kind"] == "effect"]
    assert (effect["type"], effect["at"], effect["offset"]) == ("customer.snapshot", "2026-01-12T09:10:00Z", 1)
    assert effect["id"] == effect["customer_id"]
    assert "received 2 = accepted 2 + duplicate 0 + quarantined 0 + refused 0; parked customers 0;" in result.stderr


def test_ids_equal_the_live_ones_and_nothing_personal_is_printed(run: Run, tmp_path: Path) -> None:
    result = run(written(tmp_path / "day.jsonl", line(1)))
    assert rows(result, "timeline")[0]["key"]["customer_id"] == customer_of(load_settings(), "default", f"email:{MAIL}")
    assert MAIL not in result.output
    assert "Personal" not in result.output
    assert "sealed" not in result.stdout


def test_lines_stand_in_order_of_time_kind_and_id(run: Run, tmp_path: Path) -> None:
    result = run(written(tmp_path / "day.jsonl", line(2, "09:30:00"), line(1, "09:00:00"), line(3, "09:10:00", appendedat="2026-01-12T10:00:00Z")))
    order = []
    for one in said(result):
        own, key = one.get("columns", {}), one.get("key", {})
        at = one.get("at") or key.get("occurred_at") or own.get("last_at") or own.get("updated_at") or ""
        order.append((at, one["kind"], one.get("id") or "\0".join([one["table"], *key.values()])))
    assert len(order) > 8
    assert order == sorted(order)


def test_the_same_files_give_the_same_bytes(run: Run, tmp_path: Path) -> None:
    file = written(tmp_path / "day.jsonl", *(line(n, f"09:{n:02d}:00", conversation_id=f"c-{n % 3}") for n in range(30)))
    assert run(file).stdout_bytes == run(file).stdout_bytes


def test_repeats_are_counted_and_change_nothing(run: Run, tmp_path: Path) -> None:
    once = run(written(tmp_path / "once.jsonl", line(1), line(2)), "--emit", "rows")
    twice = run(written(tmp_path / "twice.jsonl", line(1), line(1), line(2), line(2), line(1)), "--emit", "rows")
    assert once.stdout == twice.stdout
    assert "received 5 = accepted 2 + duplicate 3 " in twice.stderr


def test_an_id_that_comes_back_with_another_content_is_quarantined_as_live(run: Run, tmp_path: Path) -> None:
    result = run(written(tmp_path / "day.jsonl", line(1), line(1, text="changed")))
    assert "received 2 = accepted 1 + duplicate 0 + quarantined 1 + refused 0" in result.stderr
    assert "reasons: id_reused 1" in result.stderr


def test_a_bad_line_is_refused_with_its_number_and_field_and_the_rest_goes_on(run: Run, tmp_path: Path) -> None:
    naive = {**line(2), "time": "2026-01-12T09:00:00"}
    future = line(4, "12:00:00", appendedat="2026-01-12T09:00:00Z")
    result = run(written(tmp_path / "day.jsonl", line(1), "{not json", "", naive, {**line(3), "type": "no.such"}, future, line(5)))
    assert [row["key"]["event_id"] for row in rows(result, "timeline")] == ["m-1", "m-5"]
    assert "refused: line 2: it is not JSON." in result.stderr
    assert "refused: line 4: time: " in result.stderr
    assert "quarantined: line 6: its event time lies more than 300 s ahead." in result.stderr
    assert "received 6 = accepted 2 + duplicate 0 + quarantined 1 + refused 3;" in result.stderr


def test_only_the_first_bad_lines_are_told_one_by_one(run: Run, tmp_path: Path) -> None:
    result = run(written(tmp_path / "day.jsonl", *["{"] * 50, line(1)))
    assert result.stderr.count("it is not JSON") == 10
    assert "reasons: not_json 50" in result.stderr


def test_append_time_is_appendedat_else_time_and_never_goes_backwards(run: Run, tmp_path: Path) -> None:
    lines = [
        line(1, "09:00:00", appendedat="2026-01-12T09:30:00Z", customer=[{"kind": "account", "value": "A"}]),
        line(2, "09:10:00", customer=[{"kind": "account", "value": "B"}]),
        line(3, "10:00:00", customer=[{"kind": "account", "value": "C"}]),
        line(4, "09:20:00", appendedat="2026-01-12T09:20:00Z", customer=[{"kind": "account", "value": "D"}]),
    ]
    result = run(written(tmp_path / "day.jsonl", *lines))
    changed = {row["key"]["customer_id"]: row["columns"]["updated_at"][11:16] for row in rows(result, "customer")}
    of = [customer_of(load_settings(), "default", f"account:{value}") for value in "ABCD"]
    assert [changed[customer] for customer in of] == ["09:30", "09:30", "10:00", "10:00"]


def test_lines_appended_after_until_are_not_read_nor_anything_behind_them(run: Run, tmp_path: Path) -> None:
    first = written(tmp_path / "1.jsonl", line(1, "09:00:00"), line(2, "09:10:00"), line(3, "09:10:01"), "{bad", line(4, "09:05:00"))
    second = written(tmp_path / "2.jsonl", line(5, "09:00:00"))
    result = run(first, second, "--until", "2026-01-12T09:10:00Z")
    assert [row["key"]["event_id"] for row in rows(result, "timeline")] == ["m-1", "m-2"]
    assert "received 2 = accepted 2 " in result.stderr


def test_several_files_are_read_one_after_the_other(run: Run, tmp_path: Path) -> None:
    one = written(tmp_path / "1.jsonl", line(1), line(2, "09:10:00"))
    two = written(tmp_path / "2.jsonl", line(2, "09:10:00"), line(3, "09:20:00"))
    both = written(tmp_path / "both.jsonl", line(1), line(2, "09:10:00"), line(3, "09:20:00"))
    assert run(one, two).stdout == run(both).stdout


def test_the_digest_does_not_depend_on_the_order_of_arrival(run: Run, tmp_path: Path) -> None:
    lines = [line(n, f"09:{n:02d}:00", channel=("email", "phone")[n % 2], appendedat="2026-01-12T12:00:00Z") for n in range(40)]
    straight = run(written(tmp_path / "a.jsonl", *lines), "--digest")
    random.Random(3).shuffle(lines)  # noqa: S311 - not a secret
    assert digest(straight) == digest(run(written(tmp_path / "b.jsonl", *lines), "--digest"))
    assert digest(straight) != digest(run(written(tmp_path / "c.jsonl", *lines[1:]), "--digest"))


def test_digest_lines_come_behind_what_emit_asks_for(run: Run, tmp_path: Path) -> None:
    file = written(tmp_path / "day.jsonl", line(1))
    kinds = [one["kind"] for one in said(run(file, "--emit", "effects", "--digest"))]
    assert kinds == ["effect", *("digest" for _ in GROUPS)]
    assert {one["kind"] for one in said(run(file, "--emit", "rows"))} == {"row"}


def test_the_tenant_of_lines_that_name_none_is_the_options(run: Run, tmp_path: Path) -> None:
    result = run(written(tmp_path / "day.jsonl", line(1), line(2, tenant="other")), "--tenant", "acme")
    assert {row["key"]["tenant"] for row in rows(result, "timeline")} == {"acme", "other"}


def test_out_writes_a_file_that_appears_when_it_is_whole(run: Run, tmp_path: Path) -> None:
    file = written(tmp_path / "day.jsonl", line(1))
    result = run(file, "--out", tmp_path / "out.jsonl")
    assert result.stdout == ""
    assert (tmp_path / "out.jsonl").read_bytes() == run(file).stdout_bytes
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]
    assert isinstance(run(file, "--out", tmp_path / "no" / "such" / "folder").exception, Refused)


def test_a_failure_leaves_no_half_written_file(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    result = run(written(tmp_path / "calls.tsv", "no header"), "--format", "bank-calls", "--out", out)
    assert isinstance(result.exception, Refused)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calls.tsv", "keys.json"]


def test_a_projection_that_fails_parks_its_customer_and_the_command_fails_after_printing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = Customer.apply

    def failing(self: Customer, state: Any, event: Event, at: Moment) -> Step[Any]:
        if event.header.id == "m-1":
            raise ValueError(MAIL)
        return fold(self, state, event, at)

    monkeypatch.setattr(Customer, "apply", failing)
    result = run(written(tmp_path / "day.jsonl", line(1), line(2, customer=[{"kind": "account", "value": "B"}])))
    assert isinstance(result.exception, TouchlineError)
    assert "Customers parked: 1. A projection failed on an event of theirs: view: raised:ValueError unit/test_simulate.py:" in str(result.exception)
    assert MAIL not in result.output
    assert [json.loads(one)["key"]["event_id"] for one in result.stdout.splitlines() if '"table":"timeline",' in one] == ["m-2"]


BANK = (
    "vru+line\tcall_id\tcustomer_id\tpriority\ttype\tdate\tvru_entry\tvru_exit\tvru_time\tq_start\tq_exit\tq_time\toutcome\tser_start\tser_exit\t"
    "ser_time\tserver\n"
    "AA0101\t33116\t9664491\t2\tPS\t990201\t0:00:31\t0:00:36\t5\t0:00:36\t0:03:09\t153\tHANG\t0:00:00\t0:00:00\t0\tNO_SERVER\n"
    "AA0101\t33117\t0\t0\tPS\t990201\t0:34:12\t0:34:23\t11\t0:00:00\t0:00:00\t0\tHANG\t0:00:00\t0:00:00\t0\tNO_SERVER\n"
)
TWEETS = (
    "tweet_id,author_id,inbound,created_at,text,response_tweet_id,in_response_to_tweet_id\n"
    '2,shop,False,Tue Oct 31 22:11:45 +0000 2017,"@1 Sorry!\nWe look.",,1\n'
    "1,115712,True,Tue Oct 31 22:10:47 +0000 2017,@shop help,2,\n"
)


def test_bank_calls_come_through_their_mapping(run: Run, tmp_path: Path) -> None:
    (tmp_path / "calls.tsv").write_text(BANK)
    result = run(tmp_path / "calls.tsv")
    assert [row["columns"]["type"] for row in rows(result, "timeline")] == [
        "contact.initiated", "contact.queued", "contact.abandoned", "contact.initiated", "contact.abandoned",
    ]  # fmt: skip
    assert "calls.tsv: rows: 2 = 2 mapped" in result.stderr
    assert "received 5 = accepted 5" in result.stderr


def test_tweets_come_through_their_mapping_in_order_of_time(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tweets.csv").write_text(TWEETS)
    result = run(tmp_path / "tweets.csv", "--format", "tweets")
    assert [row["columns"]["type"] for row in rows(result, "timeline")] == ["message.received", "message.sent"]
    assert "Sorry" not in result.output
    assert "115712" not in result.output


@pytest.mark.parametrize("options", [("--emit", "clock"), ("--emit", "rows,x"), ("--until", "noon"), ("--format", "xml"), ("--policies", "p.toml")])
def test_wrong_use_ends_with_exit_2(run: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    assert run(written(tmp_path / "day.jsonl", line(1)), *options).exit_code == 2


def test_a_file_that_is_not_there_is_wrong_use(run: Run, tmp_path: Path) -> None:
    assert run(tmp_path / "none.jsonl").exit_code == 2
    assert run().exit_code == 2


# -- sorting --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run_bytes_max", [1, 5_000, 10**9])
def test_lines_sorted_on_disk_stand_as_lines_sorted_in_memory(run_bytes_max: int) -> None:
    dice = random.Random(5)  # noqa: S311 - not a secret
    told = [
        (dice.choice([None, -5, 0, 7, 2**62]), dice.choice(["row", "effect"]), f"id-{n}", {"n": n, "text": "é\n\0" * (n % 9)}) for n in range(200)
    ]
    dice.shuffle(told)
    expected = [one[3]["n"] for one in sorted(told, key=lambda one: (-(2**63) if one[0] is None else one[0], one[1], one[2]))]
    out = io.BytesIO()
    with SortedLines(run_bytes_max) as lines:
        for one in told:
            lines.add(*one)
        assert lines.write(out) == 200
        assert bool(lines.runs) == (run_bytes_max < 10**9)
    assert [json.loads(one)["n"] for one in out.getvalue().splitlines()] == expected


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """As root a file would else take the place of /dev/null."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with Output(pipe) as out:
            out.write(b"a line\n")
        assert os.read(reading, 100) == b"a line\n"
    finally:
        os.close(reading)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]
