"""The durable queue: what is promised of each row, and what breaks none of it."""
