"""Where rows live: the port, Cassandra, and an in-memory twin with Cassandra's cell rules. Start at `port.py`."""
