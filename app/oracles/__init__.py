"""Oracles that label by themselves, and webhooks."""
