"""Importing on pages: a look before it is done, and what was refused."""
