"""Policies: lineage and download."""
