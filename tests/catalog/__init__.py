"""The catalog: what is known of tools, and how one is found."""
