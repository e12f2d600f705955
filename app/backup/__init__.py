"""Backup and restore: database, artefacts and secrets of a stack in one checked file."""
