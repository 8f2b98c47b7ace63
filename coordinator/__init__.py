"""One durable queue in front of the GPU, one decision, one writer."""
