"""Benchmarks: what the whole path costs, beside what others would build. Run by `touchline bench`; nothing of the product imports it.

Each load runs in a process of its own, so that its CPU time is its own; servers' CPU is read from the system at the same moments.
Figures are ratios and CPU µs per event first, events/s second: CPU bears a busy machine, wall time does not.

Start at `pipeline.py`, which says what is measured in which order. `figures.py` is the arithmetic, `stage.py` the servers, `meter.py`
reads the clocks, `material.py` makes the events. `peers/` are programs that others would write; they may import what they like.
"""
