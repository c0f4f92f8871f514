"""The inputs of networks with hand-set weights: the pixels that they read, and their weights.

The networks are in ``fervis.models.architectures.hand_set``, their images and the true attribution in
``fervis.datasets.hand_set``.
"""

HAND_SET_CASES = ("additive", "shattered_gradient", "pertinent_negative", "conjunction", "exclusive_or")
HAND_SET_SIDE = 8
HAND_SET_PIXELS = ((1, 1), (1, 5), (2, 3), (3, 6), (4, 2), (5, 5), (6, 1), (6, 6))
"""The pixels that the networks read; terms of two pixels take the first and the second, the third and the fourth ..."""
HAND_SET_WEIGHTS = (2.0, -1.5, 1.0, -0.75, 0.5, 1.25, -1.0, 0.25)
"""Of the pixels one by one; of pairs the weight is that of their first pixel."""
