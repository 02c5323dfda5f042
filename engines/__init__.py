"""Engines - the workers behind the gateway."""
