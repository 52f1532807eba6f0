"""Arrival is not truth: whatever comes late, in whatever order, the clocks end the same, and a backlog alarms only for what is so.

Everything goes through `touchline simulate`, resolver and engine included.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from connectors.centre.generator import events
from tests.support.simulating import asked, replied, simulate

START = datetime(2026, 1, 12, tzinfo=UTC)
ORDERS = 100
RULES = (Path(__file__).resolve().parents[2] / "docs" / "examples" / "policies.toml").read_text()
MAIL = """
[[policy]]
id = "mail"
when = 'channel == "email"'
targets = { first_response = "1h", next_response = "1h" }
recipients = ["team:mail"]
"""


def moment(after: timedelta) -> str:
    return (START + after).isoformat().replace("+00:00", "Z")


def day() -> list[dict[str, Any]]:
    return list(events(7, START, customers=80, agents=4, tenant="acme"))


def as_arrived(told: list[dict[str, Any]], random: Random, delay_max: timedelta) -> list[dict[str, Any]]:
    """Return the events in an order of arrival: most come at once, some with a delay of up to `delay_max`."""
    arrivals = []
    for event in told:
        at = datetime.fromisoformat(event["time"])
        delay = timedelta() if random.random() < 0.5 else random.random() ** 3 * delay_max
        arrivals.append((at + delay, random.random(), event))
    return [{**event, "appendedat": at.isoformat()} for at, _, event in sorted(arrivals, key=lambda one: one[:2])]


def verdicts(lines: list[dict[str, Any]]) -> Counter[str]:
    """Return the clocks as text, each once."""
    return Counter(str(sorted(line.items())) for line in lines if line["kind"] == "clock")


@pytest.mark.timeout(600)
def test_a_hundred_orders_of_arrival_end_in_the_same_clocks(tmp_path: Path) -> None:
    told, until_us = day(), round((START + timedelta(days=9)).timestamp()) * 1_000_000
    straight = simulate(tmp_path, told, RULES, wanted=["clocks"], until_us=until_us)
    states = Counter(line["state"] for line in straight)
    assert min(states[state] for state in ("met", "breached")) > 10, f"too few to prove anything: {states}"
    for seed in range(ORDERS):
        arrived = as_arrived(told, Random(seed), timedelta(days=5))  # noqa: S311 - it must be repeatable
        shuffled = simulate(tmp_path, arrived, RULES, wanted=["clocks"], until_us=until_us)
        assert verdicts(shuffled) == verdicts(straight), f"order {seed}"


def test_what_was_told_comes_to_what_the_clocks_say(tmp_path: Path) -> None:
    """Of all that was said of a clock the last verdict holds, retractions included; nothing is said twice."""
    until_us = round((START + timedelta(days=9)).timestamp()) * 1_000_000
    retractions = 0
    for seed in range(5):
        lines = simulate(tmp_path, as_arrived(day(), Random(seed), timedelta(days=2)), RULES, wanted=["clocks", "effects"], until_us=until_us)  # noqa: S311
        effects = [line for line in lines if line["kind"] == "effect"]
        assert len({effect["id"] for effect in effects}) == len(effects)
        breached: Counter[tuple[str, str, int]] = Counter()
        for effect in effects:
            if said := {"sla.breached": 1, "sla.breach_retracted": -1}.get(effect["type"]):
                breached[effect["conversation_id"], effect["metric"], effect["instance"]] += said
                retractions += said < 0
        held = {(c["conversation_id"], c["metric"], c["instance"]) for c in lines if c["kind"] == "clock" and c["state"] == "breached"}
        assert {key for key, n in breached.items() if n} == held
        assert set(breached.values()) <= {0, 1}
    assert retractions > 0, "nothing was ever taken back: this proves too little"


CONVERSATIONS = 10_000
FORGOTTEN = frozenset(range(0, CONVERSATIONS, 97))


@pytest.mark.timeout(300)
def test_a_backlog_alarms_nobody_but_for_what_stayed_unanswered(tmp_path: Path) -> None:
    """Asked and answered in time, delivered two hours late in one burst, questions and answers in any order."""
    random = Random(11)  # noqa: S311 - it must be repeatable
    backlog = []
    for number in range(CONVERSATIONS):
        at = timedelta(seconds=random.randrange(3600))
        burst = moment(timedelta(hours=3, seconds=random.randrange(10)))
        backlog.append(asked(number, moment(at), burst))
        if number not in FORGOTTEN:
            backlog.append(replied(number, moment(at + timedelta(minutes=random.randrange(1, 60))), burst))
    random.shuffle(backlog)
    backlog.sort(key=lambda event: event["appendedat"])
    until_us = round((START + timedelta(hours=4)).timestamp()) * 1_000_000
    effects = [line for line in simulate(tmp_path, backlog, MAIL, wanted=["effects"], until_us=until_us) if line["kind"] == "effect"]

    said = Counter(effect["type"] for effect in effects)
    assert said["sla.breached"] == said["alert.raised"] == len(FORGOTTEN)
    assert said["sla.breach_retracted"] == 0
    assert said["sla.fulfilled"] == CONVERSATIONS - len(FORGOTTEN)
    due = {
        event["data"]["conversation_id"]: datetime.fromisoformat(event["time"]) + timedelta(hours=1) for event in backlog if "received" in event["id"]
    }
    breached = {effect["conversation_id"]: datetime.fromisoformat(effect["at"]) for effect in effects if effect["type"] == "sla.breached"}
    assert breached == {f"c-{number}": due[f"c-{number}"] for number in FORGOTTEN}
