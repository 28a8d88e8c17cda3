"""What can be evaluated: runs of the zoo, other people's models, and their digests."""
