"""An attack that is told the model's decisions alone: which class it predicts."""
