"""The scheduler - a pure core between events and effects."""
