"""Bytes of clients: the listeners, their connections, requests and bodies."""
