"""The contract of measures as named checks, for plug-ins of fervis and of others: ``fervis.check_evidence``."""
