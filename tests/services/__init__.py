"""What the system does with the gateway: real service managers, real proxies."""
