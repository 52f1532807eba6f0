"""The front door: command line, settings, errors, logging and the keys for sealing. Start at `cli.py`."""
