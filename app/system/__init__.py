"""What runs and how it does: workers, queues, holds, errors, versions and sizes; for admins."""
