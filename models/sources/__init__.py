"""Candidate sources, one a file; each gives every item a score for every user."""
