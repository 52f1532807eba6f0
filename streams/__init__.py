"""How projections run: engine, live driver, resolver, effects. The only folder that talks to Faust. Start at `engine.py`."""
