"""From names and folders to files: evaluations and audits, and the jobs that run them."""
