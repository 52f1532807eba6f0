"""Two versions of a group compared: sums per customer, a second look at whoever differs, and what made the difference. Start at `verifying.py`."""
