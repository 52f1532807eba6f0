"""What a replay waits for at the moment: values for whoever watches it. Must not know how it is waited for, nor who watches."""

import msgspec

__all__ = ["Waiting"]


class Waiting(msgspec.Struct, frozen=True):
    """`what` is waited for since `seconds`. `reason`: what was said the last time it was tried; empty while nobody has answered yet."""

    what: str
    seconds: float
    reason: str = ""
