"""One suite for every server: each case says what must happen, whoever serves the app."""
