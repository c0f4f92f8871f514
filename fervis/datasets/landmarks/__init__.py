"""Landmarks of faces, and the regions and action units that they span.

``compact`` reads and writes the landmarks of FER2013 that come with fervis, ``regions`` paints regions between them,
``codebook.toml`` states which landmarks, regions and action units belong together.
"""
