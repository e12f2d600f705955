"""Blind evaluations: one policy against another, answered by people, and never trained on."""
