"""Versions of groups: which there are (`versions.py`), which one speaks where (`promotions.py`), and how that changes (`promoting.py`).

`trailing.py`, `standing.py` and `snapshots.py` are what a live worker does about it.
"""
