"""The ALive builder: photos of many sources become WebDataset shards that say where each one comes from."""
