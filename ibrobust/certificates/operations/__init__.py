"""Which of torch's operations have bounds, and as which layers: one file per kind, and the table in `network`."""
