"""Checks what users give, and whether relevance is where it should be."""
