"""The log as ranges and files: bounded reading, export, import, and folding files without servers. Start at `reader.py`, then `files.py`."""
