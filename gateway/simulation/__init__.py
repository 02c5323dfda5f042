"""Whole programs on simulated workers around the production core, in virtual time. Pure: no clock, no I/O."""
