"""Loads for the simulator: the benchmark's own programs as plans."""
