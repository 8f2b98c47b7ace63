"""The broker against real servers and against ones that misbehave."""
