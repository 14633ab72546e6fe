"""Makes a model: data, towers, losses, the training loop and its evaluation."""
