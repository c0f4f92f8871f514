"""Regions: which part of the face does a map mark, and does the network depend on it?"""
