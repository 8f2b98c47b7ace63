"""The OpenAI surface: translates requests to leases and relays bytes, never decides."""
