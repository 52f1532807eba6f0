"""One customer made anew: all records (`history.py`), folded alone in memory (`lone.py`), the difference written (`rebuilding.py`)."""
