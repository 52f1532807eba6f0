"""The page of a projection somebody brings is followed to its end, by copy and paste, over a history that was there before.

Its blocks run as they stand, one after the other in one shell, in a copy of the checkout, against real servers. What the new tables
hold in the end is compared with a count that knows nothing of projections.
"""

import json
import random
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.local.testing import LiveStack
from tests.support.checkout import copied, environment
from tests.support.harness import Installation, installed
from tests.support.howto import PAGE, blocks, counted, journeys, public_lines, shuffled_within

CUSTOMERS = 60
FOLLOWED_S = 330
BEGIN = datetime(2025, 10, 6, tzinfo=UTC)
"""Long before the morning of the examples, so that the page shows what it says it does."""

MORNING = {
    ("2026-W03", "parcels"): {"contacts": 3, "repeat": 2, "repeated": 1, "net_repeated": 1},
    ("2026-W03", "shop-berlin"): {"contacts": 1, "resolved": 1, "net_resolved": 1},
    ("2026-W03", "unknown"): {"contacts": 1, "resolved": 1},
}
"""What docs/examples/morning.jsonl comes to, counted by hand: Ann's mail, call and chat; her visit to the shop; Wei's mail."""

SCRIPT = """
set -eo pipefail
trap 'jobs -p | xargs -r kill || true; wait || true' EXIT
{first}
touchline ingest history.jsonl
{rest}
for _ in $(seq 40); do
    touchline projection rows repeat_contacts repeat_week --limit 10000 --json > figures.json
    grep -q undecided figures.json || break
    sleep 3
done
touchline projection rows repeat_contacts repeat_contact --limit 100000 --json > contacts.json
"""


@pytest.mark.slow
def test_the_page_leads_from_a_fresh_checkout_to_figures_that_are_those_of_a_plain_count(stack: LiveStack, tmp_path: Path) -> None:
    rng = random.Random(11)  # noqa: S311 - a test
    contacts = journeys(rng, CUSTOMERS, days=70, begin=BEGIN)
    lines = shuffled_within([line for contact in contacts for line in public_lines(contact)], rng, timedelta(days=6))
    with installed(stack, tmp_path, "howto") as site:
        folder = copied(site.folder / "checkout")
        (folder / "history.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        done = followed(site, folder)
        assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-6000:]}"
        figures = json.loads((folder / "figures.json").read_text())
        rows = json.loads((folder / "contacts.json").read_text())
    wanted = counted(contacts, datetime.now(UTC)) | MORNING
    assert {(row["week"], row["reason"]): row["sums"] for row in figures["rows"]} == wanted
    assert (figures["group"], figures["version"], figures["whole"]) == ("repeat_contacts", 1, True)
    outcomes = Counter(row["outcome"] for row in rows["rows"])
    assert outcomes == sum((Counter({name: n for name, n in told.items() if name in outcomes}) for told in wanted.values()), Counter())
    for line in sample():
        assert line in done.stdout, line


def sample() -> list[str]:
    """Return the lines that the page promises at its end."""
    return [line for line in PAGE.read_text().splitlines() if line.startswith("2026-W03  ")]


def followed(site: Installation, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Paste every block into one shell in the copy, which finds the test's servers where `touchline up` would have put them."""
    assert len(sample()) == len(MORNING)
    (folder / ".touchline").symlink_to(site.stack.folder / ".touchline")
    first, *rest = blocks()
    assert "touchline ingest" in first
    script = SCRIPT.format(first=first, rest="\n".join(rest))
    with_settings = environment(folder, site.environment())
    return subprocess.run(["bash", "-c", script], cwd=folder, env=with_settings, capture_output=True, text=True, timeout=FOLLOWED_S, check=False)
