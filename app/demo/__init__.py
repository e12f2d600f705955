"""The demo: a small model and a project, so that a first start has something to label."""
