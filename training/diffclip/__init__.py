"""Few labels, many bands: hyperspectral and height scenes classified by masked diffusion pre-training and language."""
