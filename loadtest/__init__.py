"""Loads, measurements and their tables."""
