"""Sets clients up to use this gateway, and takes it back byte for byte."""
