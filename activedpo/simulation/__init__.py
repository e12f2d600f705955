"""Simulated labelling: strategies x seeds with an automatic oracle, no web and no people.

`config` is torch-free; the rest is imported where it is used.
"""
