"""Gets models into the configuration, from recipes and from engines that run, and out again."""
