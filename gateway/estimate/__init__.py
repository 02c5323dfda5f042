"""Online estimates of tokens, lengths and times."""
