"""Lanes: `make test` runs whole files side by side, and each lane starts servers of its own. Knows only which ports a lane's servers want."""

import os

from deploy.local.testing import PORTS_ABOVE

__all__ = ["ports_above"]

_BETWEEN = 1_000


def ports_above() -> int:
    """Return by how much this lane's servers shift their default ports; two lanes never look for the same port at the same moment."""
    return PORTS_ABOVE + _BETWEEN * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
