"""Recipes: every file is read, rendered, parsed back and compared."""
