"""Shared by the contract suites of plug-ins: tables of checks, a small network, snapshots of state, and outcomes."""
