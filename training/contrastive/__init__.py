"""Stage 1 at full scale: image-text contrastive training of any open_clip model on shards, over many processes."""
