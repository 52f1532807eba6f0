"""A retailer's service centre that does not exist: a seeded day of events over all ten channels, for demos, tests and load.

Lives here: people, texts, agents and desks of a discrete-event simulation, and the form of the events. Waiting, giving up and
unanswered mail come from the load on a finite number of agents. It must not know topics, Avro, sealing, projections or files:
it yields the public JSON form (cli.md §2), and importers read that as they would anybody's.

Start at `generator.py` (`events`), then `journeys.py`. `clockwork.py` is the clock, `day.py` the form of an event, `delivery.py` says
what is handed over late, and `policies.toml` are the rules that the demonstration publishes for it.
Nothing is real: numbers lie in ranges kept free for fiction (`numbers.py`), mail addresses under example.org, .com and .net.
"""

from pathlib import Path
from typing import Final

from connectors.centre.canaries import Planting
from connectors.centre.delivery import delivered
from connectors.centre.generator import Scale, events, lines, scaled

__all__ = ["POLICIES", "Planting", "Scale", "delivered", "events", "lines", "scaled"]

POLICIES: Final = Path(__file__).with_name("policies.toml")
"""The centre's rules, as a policy file (cli.md §4)."""
