"""The playground: one prompt, two policies side by side, and nothing kept unless wished."""
