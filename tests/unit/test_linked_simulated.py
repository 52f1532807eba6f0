"""The example of docs/sla.md from end to end: resolver, linker, copies, both groups, without servers."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulating import simulate

ROOT = Path(__file__).parents[2]
POLICIES = (ROOT / "docs/examples/one-person.toml").read_text()
MAIL, SHOP, PORTAL = (json.loads(line) for line in (ROOT / "docs/examples/one-person.jsonl").read_text().splitlines())


def happening(root: str, linked: str) -> list[dict[str, Any]]:
    """Return the day in order of time. `root`: who of the two is known by the stronger handle; `linked`: when both are seen together."""
    mail, shop, portal = (json.loads(json.dumps(event)) | {"tenant": "acme"} for event in (MAIL, SHOP, PORTAL))
    portal["time"] = f"2026-01-12T{linked}Z"
    if root == "mail":
        mail["data"]["customer"], shop["data"]["customer"] = shop["data"]["customer"], mail["data"]["customer"]
    return sorted((mail, shop, portal), key=lambda event: str(event["time"]))


@pytest.mark.parametrize("root", ["shop", "mail"])
@pytest.mark.parametrize("linked", ["11:00:00", "09:40:00"])
def test_one_clock_met_after_half_an_hour_and_nobody_is_left_alarmed(tmp_path: Path, root: str, linked: str) -> None:
    lines = simulate(tmp_path, happening(root, linked), POLICIES, wanted={"clocks", "effects"})
    (clock,) = [line for line in lines if line["kind"] == "clock"]
    assert (clock["state"], clock["consumed_s"], clock["stopped_at"]) == ("met", 1800.0, "2026-01-12T09:30:00Z")
    told = Counter(line["type"] for line in lines if line["kind"] == "effect" and line["type"].split(".")[0] in {"sla", "alert", "escalation"})
    alarms = ["sla.breached", "sla.breach_retracted", "alert.raised", "alert.resolved", "escalation.step_reached", "escalation.stood_down"]
    quietly = ["sla.policy_applied", "sla.clock_started", "sla.fulfilled"]
    assert told == Counter(quietly if linked == "09:40:00" else [*quietly, *alarms])
