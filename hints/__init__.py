"""Reading what callers say about their calls."""
