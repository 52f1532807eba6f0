"""Code with a fault: `touchline` whose view and care groups cannot fold an event with an id that begins with `poison-`.

`python -m tests.support.poisoned <arguments of touchline>` runs it, with `PYTHONPATH` from `environment` of `tests/support/next_version.py`.
"""

from collections.abc import Callable
from typing import Any, Final

from projections.customer import Customer
from projections.kernel import Moment, Step
from projections.sla.clocks import Sla
from schemas.record import Event

__all__ = ["COMMAND", "MARK", "break_it"]

COMMAND: Final = ("python", "-m", "tests.support.poisoned")
"""What stands in place of `touchline`."""

MARK: Final = "poison-"


def break_it() -> None:
    """Let this process have the fault."""
    for projection in (Customer, Sla):
        setattr(projection, "apply", _failing(projection.apply))  # noqa: B010 - mypy would not have it otherwise


def _failing(apply: Callable[..., Step[Any]]) -> Callable[..., Step[Any]]:
    def fails(self: object, state: object, event: Event, at: Moment) -> Step[Any]:
        if event.header.id.startswith(MARK):
            return Step({"secret of the customer": None}["where the fault is"])  # its text must be shown nowhere
        return apply(self, state, event, at)

    return fails


if __name__ == "__main__":
    break_it()
    from touchline.cli import main

    main()
