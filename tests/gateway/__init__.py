"""The gateway as one application: its own routes, and what it tells those who know only its address."""
