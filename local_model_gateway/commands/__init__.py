"""The verbs of the command line, one module each; each imports only what its verb needs."""
