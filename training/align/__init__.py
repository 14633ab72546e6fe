"""Stage 3: an affine map from DINO features to the text-aligned space (Text-to-Concept, Moayeri et al. 2023)."""
