"""Benchmarks of the engine, each beside its peers in the same run."""
