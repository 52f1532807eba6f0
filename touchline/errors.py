"""The errors of the whole product: one tree, branched by what the reader can do about it.

    TouchlineError
    ├── Retryable        the world is unwell (a broker, a node, a time-out): wait and try again
    ├── Poison           a record cannot be processed and never will be: park that customer, go on
    ├── Misconfigured    a setting, a file or a machine is wrong: stop at start, exit 78
    └── Refused          an input breaks a rule: say what, where, why and what to do; the rest goes on

Messages name the thing, the value (never a personal one) and the next step.
"""

__all__ = ["Misconfigured", "Poison", "Refused", "Retryable", "TouchlineError"]


class TouchlineError(Exception):
    """Root of the tree. `what` says what happened and why; `next_step` says what to do about it."""

    def __init__(self, what: str, *, next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what} Next: {self.next_step}" if self.next_step else self.what


class Retryable(TouchlineError):
    """Raised when waiting may help: time-outs, an unavailable broker or node, overload."""


class Poison(TouchlineError):
    """Raised when a record cannot be processed now or ever: undecodable, or an invariant is broken."""


class Misconfigured(TouchlineError):
    """Raised at start when settings, files or the machine are wrong. The process ends with exit code 78."""


class Refused(TouchlineError):
    """Raised when an input breaks a rule. `reason` is a stable short code from a bounded set."""

    def __init__(self, what: str, *, reason: str = "refused", next_step: str = "") -> None:
        super().__init__(what, next_step=next_step)
        self.reason = reason
