"""`touchline demo`: the whole product on this machine, fed by a simulated service centre. Start at `show.py`.

Uses the real path only: the local stack, a `touchline worker` process, and the importer. Must not know projections.
"""
