"""Real client programs against the gateway."""
