"""Who did what with personal data: entries on the audit topic, chained by their hashes. Start at `trail.py`, then `chain.py`.

Must not know what was opened or erased: an entry names customers by their ids, and holds nothing personal.
"""
