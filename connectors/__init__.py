"""How events come in: connectors and importers map, validate, seal and append. Must not know projections or the store's driver. Start at `contract.py`."""
