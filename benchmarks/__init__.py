"""Ours beside the libraries: the same model, samples, radii and threads."""
