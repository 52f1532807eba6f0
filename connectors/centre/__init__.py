"""A retailer's service centre that does not exist: a seeded day of events over all ten channels, for demos, tests and load.

Lives here: people, texts, agents and desks of a discrete-event simulation, and the form of the events. Waiting, giving up and
unanswered mail come from the load on a finite number of agents. It must not know topics, Avro, sealing, projections or files:
it yields the public JSON form (cli.md §2), and importers read that as they would anybody's.

Start at `generator.py` (`events`), then `journeys.py`. `clockwork.py` is the clock, `day.py` the form of an event.
Nothing is real: numbers lie in ranges kept free for fiction (`numbers.py`), mail addresses under example.org, .com and .net.
"""

from connectors.centre.canaries import Planting
from connectors.centre.generator import Scale, events, lines, scaled

__all__ = ["Planting", "Scale", "events", "lines", "scaled"]
