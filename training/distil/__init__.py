"""Distillation: stored teacher embeddings of views that can be made again, and students that learn from them."""
