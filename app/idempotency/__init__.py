"""Calls that may be sent twice: the same key gets the first answer again."""
