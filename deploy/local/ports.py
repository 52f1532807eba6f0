"""Free ports near the defaults, on the loopback address only."""

import socket
from collections.abc import Collection, Mapping

from touchline.errors import Misconfigured

__all__ = ["HOST", "answers", "choose", "is_free"]

HOST = "127.0.0.1"
"""The only address the local stack ever listens on."""

_NEAR = 200
"""How far from its default a port may lie."""


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this port now."""
    with socket.socket() as probe:
        # As Java does: a port whose old connections are still winding down is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return not answers(port)  # some systems let one bind beside a listener on all addresses


def answers(port: int) -> bool:
    """Tell whether something accepts connections here. Binds nothing, so a server that is about to listen is not disturbed."""
    with socket.socket() as caller:
        caller.settimeout(0.2)
        return caller.connect_ex((HOST, port)) == 0


def choose(wanted: Mapping[str, int], taken: Collection[int] = ()) -> dict[str, int]:
    """Return a free port for each use, the wanted one if possible and else the next free one above it; never one of `taken`."""
    chosen: dict[str, int] = {}
    for use, first in wanted.items():
        not_these = {*taken, *chosen.values()}
        for port in range(first, min(first + _NEAR, 65536)):
            if port not in not_these and is_free(port):
                chosen[use] = port
                break
        else:
            raise Misconfigured(
                f"No free port between {first} and {first + _NEAR} ({use}).", next_step="end what listens there, then `touchline up`."
            )
    return chosen
