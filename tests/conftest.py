"""Settings of every test: property tests have no deadline, since the machine may be busy with servers; nobody has a terminal of some width."""

import os

from hypothesis import settings

settings.register_profile("touchline", deadline=None)
settings.load_profile("touchline")

for name in ("COLUMNS", "LINES"):  # which a lane inherits, and its commands from it: they would cut what they print
    os.environ.pop(name, None)
