"""Who did what, when: the events of a project, as a page, a list and a file."""
