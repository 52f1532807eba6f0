"""How events come in: connectors and importers map, check, seal and append. Must not know projections. Start at `contract.py`."""
