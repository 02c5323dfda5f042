"""Programs that say what belongs together, and a demo that compares."""
