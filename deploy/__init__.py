"""How Touchline ships. `local/` is the stack for one machine; the rest is configuration for clusters."""
