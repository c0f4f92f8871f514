"""Robustness: does a map change where it should not, and follow where it should?"""
