"""Keys for sealing: the key-encryption key of this installation and the cache of data keys. Never logs or prints a key.

Knows the format and the ports of `schemas/sealing.py`; must not know Kafka, Cassandra or what an event means. Start at
`keyring.py`; `keyfile.py` keeps the local secrets, `wrapper.py` uses one of them, `rotation.py` puts a new one in its place,
`service.py` is the port for an outside service, `memory.py` a store for tests.
"""
