"""An agent's shift: log in, two breaks, log out. Must not know contacts."""

from connectors.centre.clockwork import Process
from connectors.centre.day import Day
from connectors.centre.desks import DESKS, Agent, Desk, seats
from connectors.centre.names import AGENT_NAMES, CHINESE_AGENT_NAMES

__all__ = ["staff"]

_SHIFTS = ((8, 16), (14, 22), (9, 17), (13, 21), (7, 15), (14, 22), (9, 17), (12, 20))
_NIGHTS = ((0, 8), (16, 24))
_EVERY_NTH_BY_NIGHT = 12


def staff(day: Day, agents: int) -> None:
    """Set up the desks and let every agent's shift begin at its hour (of 24 that the day is divided into)."""
    by_desk: dict[str, int] = {}
    for number, name in enumerate(seats(agents)):
        desk = day.desks.setdefault(name, Desk(name, day.clock))
        place = by_desk.setdefault(name, 0)
        by_desk[name] += 1
        names = CHINESE_AGENT_NAMES if name == "china" else AGENT_NAMES
        agent = Agent(f"a-{day.mark[:4]}-{number + 1}", names[number % len(names)], name, "senior" if place % 5 == 1 else "agent", desk)
        late = place % _EVERY_NTH_BY_NIGHT == _EVERY_NTH_BY_NIGHT - 1
        begin, end = _NIGHTS[place // _EVERY_NTH_BY_NIGHT % 2] if late else _SHIFTS[place % len(_SHIFTS)]
        day.clock.start(_shift(day, agent, (end - begin) * day.hour_us), begin * day.hour_us + day.pause(0, 240))
    for name in DESKS:
        day.desks.setdefault(name, next(iter(day.desks.values())))


def _shift(day: Day, agent: Agent, length_us: int) -> Process:
    desk, part_us = agent.desk, length_us // 4
    day.of_agent("agent.logged_in", agent)
    yield day.pause(2, 20)
    for stretch_us, reason, hours in ((part_us * 3 // 4, "coffee", 0.25), (part_us * 3 // 4, "lunch", 0.5), (part_us * 2, "", 0.0)):
        day.of_agent("agent.state_changed", agent, "available")
        desk.sit_down(agent)
        yield stretch_us + int(day.rng.random() * (part_us // 2 if reason else 0))
        yield desk.call_away(agent)
        if reason:
            day.of_agent("agent.state_changed", agent, "break", reason)
            yield int(day.hour_us * hours * (0.8 + 0.4 * day.rng.random()))
    day.of_agent("agent.state_changed", agent, "offline", "end_of_shift")
    day.of_agent("agent.logged_out", agent)
