"""The tests: see each folder's own text."""
