"""Calls that outlive their client's connection: deferred, orphaned, retried, cancelled from outside."""
