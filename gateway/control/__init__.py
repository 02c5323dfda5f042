"""What operators and owners see and do, beside the calls."""
