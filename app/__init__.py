"""The web: settings, database, HTTP API, pages, and the rules of claims and rounds."""
