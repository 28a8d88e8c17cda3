"""What a latent remembers, in nats, each number with its own error."""
