"""Settings of every test: property tests have no deadline, since the machine may be busy with servers."""

from hypothesis import settings

settings.register_profile("touchline", deadline=None)
settings.load_profile("touchline")
