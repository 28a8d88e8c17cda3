"""What no attack can change, by bounds on the network."""
