"""The layouts in which FER2013 is distributed: each is detected by its content, and read whole or refused.

``detect`` names the layout at a path; ``csv``, ``npz`` and ``folders`` read one layout each; ``ferplus`` reads the
votes of FER+. All return the same ``Parsed`` arrays.
"""
