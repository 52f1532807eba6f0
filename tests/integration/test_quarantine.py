"""What could not be accepted, on real servers: listed, looked at, mended, sent again as a new event that says what it corrects."""

import json
from pathlib import Path
from typing import Any

import pytest

from connectors.producer import Producer
from deploy.local.testing import LiveStack
from schemas.codec import Codec
from schemas.events import Header, MessageReceived
from tests.support.harness import Installation, installed
from tests.support.processes import run, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def line(id_: str, **fields: Any) -> str:
    data = {"channel": "email", "direction": "inbound", "conversation_id": "c-1", "customer": [{"kind": "account", "value": "A-1"}], "text": "Hello"}
    event = {"specversion": "1.0", "id": id_, "source": "/mail", "type": "message.received", "time": "2026-01-12T09:00:00Z", "data": data}
    return json.dumps({**event, **fields, "data": data | fields.get("data", {})})


def quarantine(here: Installation, *arguments: str) -> Any:
    done = run(["touchline", "quarantine", *arguments], here.environment(), here.folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(here: Installation, *arguments: str) -> str:
    done = run(["touchline", "quarantine", *arguments], here.environment(), here.folder)
    assert done.returncode == 1, done.stdout
    return done.stderr


def lose(here: Installation) -> None:
    """Append a record that names nobody to a channel's topic, as a faulty connector would: the resolver sets it aside."""
    at_us = 1_768_208_400_000_000
    header = Header(id="lost", source="/mail", tenant="acme", channel="email", direction="inbound", occurred_at_us=at_us, received_at_us=at_us)
    producer = Producer(here.settings.brokers)
    producer.produce(here.settings.topic("channel.email"), b"", Codec().encode(MessageReceived(header=header, sealed=b"x", sealed_key="k")))
    producer.flush()


def test_a_quarantined_event_is_mended_and_comes_in_as_a_new_one(stack: LiveStack, tmp_path: Path) -> None:
    with installed(stack, tmp_path, "quarantine") as here, here.worker() as worker:
        worker.wait_for("consuming", part="resolver").wait_for("consuming", part="view.v1")
        file, mended = tmp_path / "events.jsonl", tmp_path / "mended.json"
        file.write_text("\n".join([line("early", time="2036-01-12T09:00:00Z"), line("good")]) + "\n")
        here.ingest(file)
        lose(here)
        until(lambda: len(quarantine(here, "list", "--json")) == 2, 60, "both are in quarantine")
        found = {one["reason"]: one for one in quarantine(here, "list", "--json")}
        assert found.keys() == {"future_dated", "no_subject"}
        assert [one["reason"] for one in quarantine(here, "list", "--reason", "no_subject", "--json")] == ["no_subject"]
        assert "line" in found["future_dated"]

        lost_id = found["no_subject"]["id"]
        shown = quarantine(here, "show", lost_id, "--json")
        assert (shown["record"]["header"]["id"], shown["record"]["type"], shown["record"]["sealed"]) == ("lost", "message.received", "(sealed)")
        event = quarantine(here, "show", lost_id, "--template")
        assert (event["time"], event["type"]) == ("2026-01-12T09:00:00Z", "message.received")
        mended.write_text(json.dumps(event))
        assert "data.customer" in refusal(here, "retry", lost_id, "--event", str(mended))  # its customer is still to be filled in
        event["data"] |= {"customer": [{"kind": "account", "value": "A-1"}], "text": "Hello again"}
        mended.write_text(json.dumps(event, indent=2))
        assert quarantine(here, "retry", lost_id, "--event", str(mended), "--json")["outcome"] == "accepted"
        assert quarantine(here, "retry", lost_id, "--event", str(mended), "--json")["outcome"] == "duplicate"
        here.wait_until_caught_up(worker)
        rows = {row["event_id"]: row for row in here.rows()["timeline"] if not row["hidden"]}
        assert rows.keys() == {"good", event["id"]}
        assert rows[event["id"]]["summary"]["corrects"] == lost_id
        assert rows[event["id"]]["customer_id"] == rows["good"]["customer_id"]

        early = found["future_dated"]["id"]
        mended.write_text(line("early", time="2036-01-12T09:00:00Z"))
        assert "future_dated" in refusal(here, "retry", early, "--event", str(mended))
        mended.write_text(line("early", time="2026-01-12T10:00:00Z"))
        assert quarantine(here, "retry", early, "--event", str(mended), "--json")["corrects"] == early
        assert "Nothing with the id" in refusal(here, "show", "nobody")
        assert worker.stop() == 0, worker.last_words()
