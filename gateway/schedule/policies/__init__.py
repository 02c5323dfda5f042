"""Scheduling policies, one a file, found by name."""
