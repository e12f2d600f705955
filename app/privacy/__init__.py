"""What a person may ask for: a copy of their data, and to be forgotten."""
