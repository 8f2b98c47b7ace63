"""Small downstream servers that do what real ones do on a bad day; each runs as a child process."""
