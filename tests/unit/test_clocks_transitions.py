"""The tables of clocks hold together: every sign means something, every clock can end, and the machine's form says the same."""

from typing import get_args

import pytest

from projections.rules import Metric
from projections.sla.transitions import METRICS, NUMBER, REACTIONS, SIGNS, STATES, TRANSITIONS, Sign, by_state


def test_every_metric_has_a_table_and_a_number() -> None:
    assert set(get_args(Metric)) < set(TRANSITIONS)
    assert [METRICS[number] for number in NUMBER.values()] == [*get_args(Metric), "queue_answer"]


def test_every_sign_is_explained_and_moves_some_clock() -> None:
    moving = {sign for table in TRANSITIONS.values() for _, sign in table}
    assert set(SIGNS) == set(get_args(Sign)) == moving


@pytest.mark.parametrize("metric", TRANSITIONS)
def test_every_clock_can_start_and_end(metric: str) -> None:
    table = TRANSITIONS[metric]  # type: ignore[index]
    assert any(state == "idle" and after == "running" for (state, _), after in table.items())
    assert any(state == "running" and after in {"stopped", "cancelled"} for (state, _), after in table.items())
    assert all(("paused", sign) in table for state, sign in table if state == "running" and sign != "pause") or ("running", "pause") not in table


def test_the_machines_form_says_what_the_tables_say() -> None:
    for sign, reactions in REACTIONS.items():
        for metric, table in TRANSITIONS.items():
            after = dict(reactions).get(NUMBER[metric], (-1,) * 5)
            for number, state in enumerate(STATES):
                expected = table.get((state, sign))  # type: ignore[call-overload]
                assert (STATES[after[number]] if after[number] >= 0 else None) == expected


def test_a_table_by_state_is_the_same_table() -> None:
    for table in TRANSITIONS.values():
        assert {(state, sign): after for state, signs in by_state(table).items() for sign, after in signs.items()} == table
