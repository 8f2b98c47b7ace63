"""The agents' runbook: read, followed from a clean checkout, and held against what it speaks of."""
