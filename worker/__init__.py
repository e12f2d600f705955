"""The worker: takes model work from the database, lets a child process do it, stores the outcome."""
