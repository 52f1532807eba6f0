"""How records of identity come onto the log: a port, so that a log in memory can take them too, and Kafka behind it."""

from typing import Final, Protocol

from connectors.producer import Linger, Producer

__all__ = ["KafkaLog", "LogAppender"]

_DELIVERY_S: Final = 30.0
"""How long a record may stay unacknowledged before the process ends: a broker that restarts takes less."""


class LogAppender(Protocol):
    """Appends to interaction.v1, in order. Nothing is there before `drain` has returned."""

    def append(self, key: str, value: bytes) -> None:
        """Append a record under a key."""
        ...

    async def drain(self) -> None:
        """Wait until all that was appended is acknowledged. Raises `Retryable` while the broker is unwell; calling again goes on waiting."""
        ...


class KafkaLog:
    """The log itself. One per worker and purpose.

    Whoever reads copies takes them by their offsets at the origin, rising: one that came later than its successor would be lost. So a
    record that cannot be delivered ends the process instead of being sent again behind the others; what was cut off is done again.
    """

    def __init__(self, brokers: str, topic: str, *, linger: Linger = "events") -> None:
        self._producer = Producer(brokers, linger=linger, delivery_timeout_s=_DELIVERY_S, config={"enable.gapless.guarantee": True})
        self._topic = topic

    def append(self, key: str, value: bytes) -> None:
        """Append a record under a key."""
        self._producer.produce(self._topic, key.encode(), value)

    async def drain(self) -> None:
        """Wait for the acknowledgements. Raises `Retryable`, or `FatalProducerError`, after which the process must end."""
        await self._producer.drain()
