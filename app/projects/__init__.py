"""Projects, prompts, pairs that exist already, import and export."""
