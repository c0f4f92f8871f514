"""Shared by tests: the command, networks, browsers and what is compared."""
