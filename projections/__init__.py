"""What events mean: pure functions of state and event.

Must not know Kafka, Cassandra or the time of day. Start at `kernel.py`, then `registry.py`.
"""
