"""Where rows live: the port, Cassandra, and an in-memory twin with Cassandra's cell rules.

Start at `port.py`. A write in Cassandra goes through `encoding.py` (a row as bytes), `grouping.py` (which rows share a request),
`inflight.py` (from the event loop to the driver's thread) and `cassandra.py`, the one module that imports the driver. A read is cut
into ranges by `slices.py`. `catalogue.py` knows all tables, `migrations.py` creates them; `manifests.py`, `data_keys.py` and
`parked.py` give control tables a meaning and work over either store. Nothing here knows Kafka, Faust or what an event means.
"""
