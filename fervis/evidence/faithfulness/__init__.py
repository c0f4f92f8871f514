"""Faithfulness: does the network depend on what a map marks?"""
