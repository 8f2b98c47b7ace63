"""A language model made by hand, for demonstrations and tests: real engines, known text, no download."""
