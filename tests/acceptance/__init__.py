"""The whole gateway as a process of its own, with real child engines, from the outside."""
