"""Real Kafka, Cassandra and (optionally) a schema registry on a machine that has only Python. Start at `stack.py`."""
