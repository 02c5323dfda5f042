"""Whole programs as a load: defined once as graphs, run by their client or by the gateway, compared."""
