"""One file that carries a result to somebody else: made, checked without running anything in it, kept in a folder."""
