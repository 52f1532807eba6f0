"""Clocks, unanswered contacts and service levels on real calls and real messages: equal to what `tests/support/by_hand.py` counts.

No server: `touchline simulate` with a policy file. What runs live is held to the same tables elsewhere.
"""

import csv
import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from streams.service_level import ServiceLevel, Targets, counts_of
from tests.support import by_hand
from tests.support.processes import run

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CALLS, TWEETS = DATA / "bank_calls_1999-02-01_14.tsv", DATA / "support_tweets_2017_a.csv"

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not CALLS.exists(), reason="../shared/data with the real calls and messages is not here"),
]

BANK = """
[[calendar]]
id = "bank"
timezone = "Asia/Jerusalem"
[calendar.week]
sun = ["07:00-24:00"]
mon = ["07:00-24:00"]
tue = ["07:00-24:00"]
wed = ["07:00-24:00"]
thu = ["07:00-24:00"]
fri = ["07:00-14:00"]
sat = ["20:00-24:00"]
[defaults]
calendar = "bank"
queue = { answer_within = "20s", short_abandon = "5s" }
[[policy]]
id = "priority"
when = 'priority == "high"'
targets = { queue_answer = "20s" }
[[policy]]
id = "regular"
targets = { queue_answer = "90s" }
[[unanswered]]
id = "missed-call"
when = 'type == "contact.abandoned" && stage in ["queue", "ringing"]'
answer_within = "2h"
recovered_by = "any_channel"
"""

BRANDS = """
[[policy]]
id = "messages"
targets = { first_response = "60m", next_response = "4h" }
[[unanswered]]
id = "message"
when = 'type == "message.received"'
answer_within = "4h"
recovered_by = "conversation"
"""


def simulated(folder: Path, file: Path, policies: str, *options: str) -> list[dict[str, Any]]:
    """Return what `touchline simulate` says with these rules."""
    rules = folder / "policies.toml"
    rules.write_text(policies)
    settings = {"TOUCHLINE_KEY_FILE": str(folder / "keys.json"), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = run(["touchline", "simulate", str(file), "--policies", str(rules), *options], settings, folder, within_s=240)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_bank_s_queue_its_missed_calls_and_its_service_levels(tmp_path: Path) -> None:
    found = by_hand.calls(CALLS)
    said = simulated(tmp_path, CALLS, BANK, "--emit", "clocks,rows")

    clocks = [line for line in said if line["kind"] == "clock" and line["instance"] > 0 and not line.get("end_to_end")]
    assert Counter(clock["state"] for clock in clocks) == by_hand.waits(found, 20, 90)

    rows: dict[str, list[dict[str, Any]]] = {"unanswered": [], "figure": []}
    for line in said:
        if line["kind"] == "row" and line["table"] in rows:
            rows[line["table"]].append({**line["key"], **line["columns"]})
    last = max(call.ended for call in found)
    assert Counter(row["state"] for row in rows["unanswered"]) == by_hand.missed(found, 2 * 3600, last)

    sums: dict[str, list[dict[str, int]]] = defaultdict(list)
    for row in rows["figure"]:
        sums[row["day"]].append(row["sums"])
    of_day = {day: ServiceLevel.of(counts_of(parts), Targets(20, 5)) for day, parts in sums.items()}
    counted = {
        day: {"A": it.counts.answered, "As": it.answered_within, "B": it.counts.abandoned, "Bs": it.abandoned_within, "Bx": it.short_abandons}
        for day, it in of_day.items()
    }
    assert counted == by_hand.levels(found, 20, 5)
    for day, it in of_day.items():
        asa_s, answered = by_hand.answers(found, day)
        assert (it.asa_s, it.counts.answered) == (pytest.approx(asa_s), answered)


def without_every(nth: int, folder: Path) -> Path:
    """Write the messages without every n-th of a brand."""
    file = folder / "withheld.csv"
    with TWEETS.open(newline="") as lines, file.open("w", newline="") as out:
        rows = csv.DictReader(lines)
        writer = csv.DictWriter(out, rows.fieldnames or ())
        writer.writeheader()
        replies = count(1)
        writer.writerows(row for row in rows if row["inbound"] == "True" or next(replies) % nth)
    return file


@pytest.mark.parametrize("withheld", [0, 5], ids=["all-replies", "every-fifth-withheld"])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 1.0])
def test_the_messages_of_brands_as_of_four_moments(tmp_path: Path, withheld: int, share: float) -> None:
    file = without_every(withheld, tmp_path) if withheld else TWEETS
    said = by_hand.talks(file)
    times = sorted(talk.at for line in said.values() for talk in line)
    until = times[round(share * (len(times) - 1))] + 60
    told = simulated(tmp_path, file, BRANDS, "--emit", "clocks,rows", "--until", datetime.fromtimestamp(until, UTC).isoformat())
    clocks = [line for line in told if line["kind"] == "clock"]
    assert Counter((clock["metric"], clock["state"]) for clock in clocks) == by_hand.tweet_clocks(said, 3600, 4 * 3600, until)
    waiting = [line["columns"] for line in told if line["kind"] == "row" and line["table"] == "unanswered"]
    assert Counter(row["state"] for row in waiting) == by_hand.tweet_contacts(said, 4 * 3600, until)
