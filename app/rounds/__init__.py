"""The state machine of a round, its runs, progress and events."""
