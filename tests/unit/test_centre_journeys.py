"""What happens in a simulated day: contacts, conversations and shifts are well-formed, and waiting comes from load."""

import re
from collections import Counter, defaultdict
from datetime import UTC, datetime
from functools import cache
from typing import Any

from connectors.centre import events
from schemas.events import EVENT_TYPES

START = datetime(2026, 1, 12, tzinfo=UTC)
CHANNELS = {"phone", "email", "webchat", "social", "messaging", "store", "portal", "community", "bot", "backoffice"}

Event = dict[str, Any]


@cache
def day(customers: int = 1_400, agents: int = 12, seed: int = 7) -> tuple[Event, ...]:
    return tuple(events(seed, START, customers, agents, "acme"))


def contacts() -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = defaultdict(list)
    for event in day():
        if event["data"].get("contact_id"):
            found[event["data"]["contact_id"]].append(event)
    return found


def conversations(channel: str) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = defaultdict(list)
    for event in day():
        if event["data"]["channel"] == channel:
            found[event["data"]["conversation_id"]].append(event)
    return found


def test_all_ten_channels_and_most_types_occur() -> None:
    assert {event["data"]["channel"] for event in day()} == CHANNELS
    families = {kind.partition(".")[0] for kind in EVENT_TYPES}
    seen = Counter(event["type"] for event in day())
    assert {kind.partition(".")[0] for kind in seen} >= families & {
        "contact", "message", "bot", "conversation", "case", "thread", "store", "portal", "order", "notification", "agent", "feedback",
    }  # fmt: skip
    assert len(seen) >= 60
    for kind in ("contact.held", "contact.transferred", "contact.consulted", "contact.voicemail_left", "contact.callback_attempted"):
        assert seen[kind] > 0


def test_an_answered_call_was_queued_and_offered_before_and_ends_with_completed() -> None:
    answered = 0
    for said in contacts().values():
        kinds = [event["type"] for event in said if event["type"].startswith("contact.")]
        if "contact.connected" in kinds:
            answered += 1
            before = kinds[: kinds.index("contact.connected")]
            assert {"contact.queued", "contact.offered"} <= set(before) or "contact.callback_attempted" in before
            if "contact.abandoned" not in kinds:  # lost in a second queue after a transfer
                assert kinds[-4:] == ["contact.disconnected", "contact.wrapup_started", "contact.wrapup_ended", "contact.completed"]
        if "contact.abandoned" in kinds:
            assert kinds[-1] == "contact.abandoned"
            assert kinds.count("contact.abandoned") == 1
        assert kinds.count("contact.held") == kinds.count("contact.resumed")
        assert kinds.count("contact.completed") <= 1
    assert answered > 100


def test_an_agent_talks_in_one_contact_at_a_time() -> None:
    talking: dict[str, str] = {}
    by_contact: dict[str, str] = {}
    for event in day():
        data, kind = event["data"], event["type"]
        if kind == "contact.connected":
            former = by_contact.pop(data["contact_id"], None)
            if former is not None:
                talking.pop(former, None)
            assert data["agent"] not in talking
            talking[data["agent"]] = data["contact_id"]
            by_contact[data["contact_id"]] = data["agent"]
        elif kind == "contact.completed" or (kind == "contact.transferred" and data["kind"] == "cold"):
            talking.pop(by_contact.pop(data["contact_id"], ""), None)


def test_an_agent_speaks_only_between_logging_in_and_out() -> None:
    present: set[str] = set()
    for event in day():
        actor = event["data"]["actor"]
        if event["type"] == "agent.logged_in":
            present.add(actor["id"])
        elif actor["kind"] == "agent":
            assert actor["id"] in present
        if event["type"] == "agent.logged_out":
            present.remove(actor["id"])
        if event["type"].startswith("agent."):
            assert event["data"]["customer"] == []
    assert not present


def test_every_other_event_names_its_customer() -> None:
    assert all(event["data"]["customer"] for event in day() if not event["type"].startswith("agent."))


def test_a_human_reply_follows_a_question_and_some_mails_stay_unanswered() -> None:
    unanswered = 0
    for said in conversations("email").values():
        asked = next((event["time"] for event in said if event["type"] == "message.received"), None)
        replies = [
            event
            for event in said
            if event["type"] == "message.sent" and event["data"]["visibility"] == "public" and event["data"]["author"] == "human"
        ]
        if asked is not None:
            assert all(reply["time"] > asked for reply in replies)
            closed = any(event["type"] == "message.no_reply_needed" for event in said)
            unanswered += not replies and not closed
    assert unanswered > 0


def test_the_bot_hands_over_within_the_conversation() -> None:
    handed = {event["data"]["conversation_id"] for event in day() if event["type"] == "bot.handoff_requested"}
    chats = conversations("webchat")
    assert handed
    assert handed == set(chats)
    bots = conversations("bot")
    assert all(bots[name][0]["type"] == "bot.started" for name in chats)


def test_the_chinese_team_answers_in_chinese() -> None:
    spoken = [
        event["data"]["text"]
        for event in day()
        if event["type"] == "message.sent" and event["data"]["actor"]["team"] == "china" and event["data"]["channel"] == "messaging"
    ]
    assert len(spoken) > 20
    assert all(re.search("[\u4e00-\u9fff]", text) for text in spoken)


def test_one_account_is_seen_in_several_channels() -> None:
    ways: dict[str, set[str]] = defaultdict(set)
    for event in day():
        for handle in event["data"]["customer"]:
            if handle["kind"] == "account":
                ways[handle["value"]].add(event["data"]["channel"])
    assert sum(len(channels) >= 3 for channels in ways.values()) > 50


def test_a_second_try_makes_a_case_of_two_conversations() -> None:
    linked: dict[str, list[str]] = defaultdict(list)
    for event in day():
        if event["type"] == "case.linked":
            linked[event["data"]["case_id"]].append(event["data"]["conversation"])
    assert linked
    assert all(len(set(names)) == 2 for names in linked.values())


def test_waiting_and_giving_up_come_from_too_few_agents() -> None:
    def figures(agents: int) -> tuple[float, float]:
        queued: dict[str, datetime] = {}
        waits, left = [], 0
        for event in events(5, START, 1_300, agents, "acme"):
            at, name = datetime.fromisoformat(event["time"]), event["data"].get("contact_id")
            if event["type"] == "contact.queued":
                queued[name] = at
            elif event["type"] == "contact.connected" and name in queued:
                waits.append((at - queued[name]).total_seconds())
            left += event["type"] == "contact.abandoned"
        return sum(waits) / len(waits), left / len(queued)

    (few_s, few_left), (many_s, many_left) = figures(10), figures(120)
    assert few_s > 2 * many_s
    assert few_left > 2 * many_left


def test_the_day_has_a_peak_before_noon_and_one_in_the_evening() -> None:
    by_hour = Counter(int(event["time"][11:13]) for event in day() if event["type"] == "portal.article_viewed")
    assert min(by_hour[10], by_hour[18]) > by_hour[14] > by_hour[3]
