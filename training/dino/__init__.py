"""Stage 2: features learnt from photos without labels (DINO, Caron et al. 2021)."""
