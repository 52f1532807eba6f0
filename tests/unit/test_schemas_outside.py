"""What the schemas look like from outside: topics, CloudEvents headers, the registry, the commands."""

import json
import re
from collections.abc import Callable
from typing import Any, get_args

import httpx2
import pytest
import typer
from typer.testing import CliRunner

from schemas import cloudevents, evolution, registry
from schemas.events import EVENT_TYPES, Channel
from schemas.lint import Finding
from schemas.topics import CHANNELS, DAY_MS, UNLIMITED, channel_topic, topics
from touchline.commands import schemas as commands
from touchline.errors import Misconfigured, Refused, Retryable, TouchlineError


def test_each_of_the_ten_channels_has_a_topic_of_its_own() -> None:
    assert (*CHANNELS, "other") == get_args(Channel)
    names = {spec.name for spec in topics("acme")}
    assert {channel_topic("acme", channel) for channel in CHANNELS} < names
    assert channel_topic("acme", "email") == "acme.channel.email.v1"


def test_topics_are_configured_as_the_design_says() -> None:
    specs = {spec.name: spec for spec in topics("touchline", partitions=24, replication=3)}
    log = specs["touchline.interaction.v1"]
    assert (log.partitions, log.retention_ms, log.replication) == (24, UNLIMITED, 3)
    assert log.config()["message.timestamp.type"] == "LogAppendTime"
    assert log.config()["min.insync.replicas"] == "2"
    assert log.config()["retention.ms"] == "-1"
    assert specs["touchline.channel.phone.v1"].config()["message.timestamp.type"] == "LogAppendTime"
    assert specs["touchline.channel.phone.v1"].retention_ms == 30 * DAY_MS
    assert specs["touchline.config.v1"].partitions == specs["touchline.control.v1"].partitions == 1
    assert specs["touchline.customer.v1"].config()["cleanup.policy"] == "compact"
    assert "retention.ms" not in specs["touchline.customer.v1"].config()
    assert specs["touchline.control.v1"].retention_ms == DAY_MS
    assert {specs[f"touchline.{name}.v1"].retention_ms for name in ("sla", "alert", "escalation", "quarantine")} == {90 * DAY_MS}
    assert topics()[0].config()["min.insync.replicas"] == "1"


def test_a_record_on_an_output_topic_has_the_headers_of_cloudevents_binary_mode() -> None:
    found = cloudevents.headers(event_id="e-1", source="/sla", type_="sla.breached", at_us=1_768_208_400_000_000, subject="c-1", dataschema="urn:x")
    assert dict(found) == {
        "content-type": b"application/avro",
        "ce_specversion": b"1.0",
        "ce_id": b"e-1",
        "ce_source": b"/sla",
        "ce_type": b"sla.breached",
        "ce_time": b"2026-01-12T09:00:00Z",
        "ce_subject": b"c-1",
        "ce_dataschema": b"urn:x",
    }
    assert "ce_subject" not in dict(cloudevents.headers(event_id="e", source="/s", type_="t.t", at_us=0, subject="", dataschema="urn:x"))


class Confluent:
    """A registry as small as its protocol allows."""

    def __init__(self) -> None:
        self.rule = "NONE"
        self.ids: dict[tuple[str, str], int] = {}

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request."""
        body = json.loads(request.content)
        if request.method == "PUT":
            self.rule = body["compatibility"]
            return httpx2.Response(200, json=body)
        subject = request.url.path.split("/")[2]
        assert json.loads(body["schema"])["name"] == subject
        if request.url.path.endswith("/versions"):
            return httpx2.Response(200, json={"id": self.ids.setdefault((subject, body["schema"]), 7 * len(self.ids) + 3)})
        if (subject, body["schema"]) not in self.ids:
            return httpx2.Response(404, json={"error_code": 40401, "message": "Subject not found."})
        return httpx2.Response(200, json={"id": self.ids[subject, body["schema"]]})


def test_output_records_are_registered_under_their_names_and_found_again() -> None:
    server = Confluent()
    with pytest.raises(Misconfigured, match="schemas register"):
        registry.output_ids("http://registry:8080", httpx2.MockTransport(server))
    ids = registry.register("http://registry:8080/", httpx2.MockTransport(server))
    assert server.rule == "FULL_TRANSITIVE"
    assert {"touchline.customer.Snapshot", "touchline.quarantine.Quarantined", "touchline.alert.Raised"} <= set(ids)
    assert "touchline.alert.AcknowledgeRequested" not in ids
    assert registry.register("http://registry:8080", httpx2.MockTransport(server)) == ids
    assert registry.output_ids("http://registry:8080", httpx2.MockTransport(server)) == ids


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [(409, Refused, "incompatible"), (422, Refused, "invalid"), (401, Misconfigured, None), (503, Retryable, None), (429, Retryable, None)],
)
def test_what_a_registry_refuses_is_told_with_subject_and_reason(status: int, error: type[TouchlineError], reason: str | None) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={}) if request.method == "PUT" else httpx2.Response(status, json={"message": "no such luck"})

    with pytest.raises(error, match=f"{re.escape(next(iter(registry.output_schemas())))}: no such luck") as caught:
        registry.register("http://registry", httpx2.MockTransport(answer))
    assert getattr(caught.value, "reason", None) == reason


def unreachable(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("no route", request=request)


@pytest.mark.parametrize(
    ("url", "answer", "error"),
    [
        ("http://user:secret@registry:8080", unreachable, Retryable),
        ("http://registry", lambda _: httpx2.Response(200, text="<html>"), Misconfigured),
        ("http://registry:port", unreachable, Misconfigured),
    ],
)
def test_a_registry_that_is_none_is_told_without_its_password(url: str, answer: Callable[[Any], Any], error: type[TouchlineError]) -> None:
    with pytest.raises(error) as caught:
        registry.register(url, httpx2.MockTransport(answer))
    assert "secret" not in str(caught.value)


@pytest.fixture
def app() -> typer.Typer:
    found = typer.Typer()
    commands.register(found)
    return found


def test_the_commands_say_what_they_do_and_show_an_example(app: typer.Typer) -> None:
    for command in ("generate", "check", "register", "list"):
        shown = CliRunner().invoke(app, ["schemas", command, "--help"])
        assert shown.exit_code == 0
        assert f"touchline schemas {command}" in shown.output


def test_checking_the_committed_schemas_is_content(app: typer.Typer) -> None:
    shown = CliRunner().invoke(app, ["schemas", "check"])
    assert shown.exit_code == 0
    assert "all rules are kept" in shown.output


def test_generating_from_the_committed_schemas_does_nothing(app: typer.Typer) -> None:
    shown = CliRunner().invoke(app, ["schemas", "generate"])
    assert shown.output.startswith("Nothing to do")


def test_a_broken_rule_is_shown_and_nothing_is_written(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evolution, "check", lambda: [Finding("touchline.message.Read.x", "pii", "every field needs it.")])
    for command in ("check", "generate"):
        shown = CliRunner().invoke(app, ["schemas", command])
        assert "touchline.message.Read.x: pii: every field needs it." in shown.output
        assert isinstance(shown.exception, Refused)


def test_registering_without_a_registry_names_the_setting(app: typer.Typer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TOUCHLINE_REGISTRY_URL", raising=False)
    shown = CliRunner().invoke(app, ["schemas", "register"])
    assert isinstance(shown.exception, Misconfigured)
    assert "TOUCHLINE_REGISTRY_URL" in str(shown.exception)


def test_the_list_names_every_event_type(app: typer.Typer) -> None:
    rows = json.loads(CliRunner().invoke(app, ["schemas", "list", "--json"]).output)
    assert {row["type"] for row in rows if row["type"]} == set(EVENT_TYPES)
    [row] = [row for row in rows if row["type"] == "message.sent"]
    assert row["record"] == "touchline.message.Sent"
    assert row["fields"] == ["visibility", "author"]
    assert row["ids"][-1] == row["id"]
    shown = CliRunner().invoke(app, ["schemas", "list", "--family", "timer"])
    assert "timer.woke" in shown.output
    assert "message.sent" not in shown.output
