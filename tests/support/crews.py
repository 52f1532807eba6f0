"""Processes that pretend to replay: what a crew does with them is tested without servers."""

import os
import signal
import sys
import time
from multiprocessing.connection import Connection

from streams.carried import Carried
from streams.replay.messages import Go, Opened, Progress, Rate, Rested, Share, Stop
from touchline.errors import Refused

__all__ = ["dying", "failing", "waiting", "working"]


def working(connection: Connection, share: Share) -> None:
    """Do at once what is asked, and leave when told to."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection.send(Opened(dict.fromkeys(share.partitions, 0)))
    rate: float | None = None
    while True:
        order = connection.recv()
        if isinstance(order, Rate):
            rate = order.per_s
        elif isinstance(order, Go):
            done = sum(order.ends.values())
            connection.send(Progress(order.ends, done, round(rate or 0), 0, 0, 0, 0))
            connection.send(Rested(True))  # noqa: FBT003 - a value
        elif isinstance(order, Stop):
            return


def waiting(connection: Connection, share: Share) -> None:
    """Work until told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection.send(Opened(dict.fromkeys(share.partitions, 0)))
    while not isinstance(connection.recv(), Stop):
        pass
    connection.send(Rested(False))  # noqa: FBT003


def dying(connection: Connection, share: Share) -> None:
    """Die when asked to work, if partition 0 is among the share; else work until told to stop."""
    if 0 not in share.partitions:
        waiting(connection, share)
        return
    connection.send(Opened(dict.fromkeys(share.partitions, 0)))
    connection.recv()
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def failing(connection: Connection, share: Share) -> None:
    """Say that it cannot go on, if partition 0 is among the share; else work until told to stop."""
    if 0 not in share.partitions:
        waiting(connection, share)
        return
    connection.send(Opened(dict.fromkeys(share.partitions, 0)))
    connection.recv()
    connection.send(Carried.of(Refused("partition 0, offset 7: the record cannot be folded.", next_step="correct it.")))
    sys.exit(1)
