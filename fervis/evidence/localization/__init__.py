"""Localization: does a map mark what is known to matter?"""
