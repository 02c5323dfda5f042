"""The wire formats - bodies and event streams, as bytes."""
