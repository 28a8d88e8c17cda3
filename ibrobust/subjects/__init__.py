"""What can be asked: runs of the zoo, other people's models, and their digests."""
