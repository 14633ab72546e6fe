"""Labels in words, and the packs of their precomputed embeddings."""
