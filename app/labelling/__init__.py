"""Claims and preferences: who sees which pair, and what they said."""
