"""Semantic variables: their values put into prompts, and cut from replies. Pure."""
