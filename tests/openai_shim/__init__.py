"""The OpenAI routes on real sockets."""
