"""The worker: takes model work, lets a child process do it, stores the outcome."""
