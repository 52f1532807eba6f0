"""The second driver: all of history into the tables of a version that nobody reads yet, without effects. Start at `replay.py`.

`building.py` is what a build does from plan to shadow, `crew.py` the processes, `child.py` what runs in each. Must not know people.
"""
