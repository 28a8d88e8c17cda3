"""Attacks on samples, and the tables of what broke them."""
