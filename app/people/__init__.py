"""Sign-in, roles, sessions and API keys."""
