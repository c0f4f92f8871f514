"""What contract suites of plug-ins share: a small network, snapshots of state, and outcomes."""
