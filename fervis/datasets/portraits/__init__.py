"""A renderer of synthetic faces with known action units and evidence; ``render`` is its entry."""
