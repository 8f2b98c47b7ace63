"""The ways to start, watch and stop an engine; each passes one conformance suite."""
