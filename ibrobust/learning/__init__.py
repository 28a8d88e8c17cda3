"""Objectives and the loop that trains with them."""
