"""Judges any encoder, as a checkpoint, a bundle or an open_clip model, on any task, by one protocol."""
