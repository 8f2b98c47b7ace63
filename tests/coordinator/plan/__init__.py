"""The decision and the forecast: examples, properties, mutants."""
