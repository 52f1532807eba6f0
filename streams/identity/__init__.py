"""One person over many handles: who is linked to whom, what is copied from one customer to the other, and how it is undone (log.md §4, §5)."""
