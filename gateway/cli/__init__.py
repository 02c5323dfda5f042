"""The loomgate command."""
