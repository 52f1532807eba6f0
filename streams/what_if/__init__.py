"""History under other rules, compared with what it was: the log folded twice into a scratch store. Start at `what_if.py`."""
