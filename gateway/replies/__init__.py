"""A worker's reply on its way to its client, or to whoever else wants it."""
