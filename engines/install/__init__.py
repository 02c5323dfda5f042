"""The bootstrap: from a bare Python to an environment that runs everything. Standard library only."""
