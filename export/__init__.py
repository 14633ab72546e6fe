"""Turns a checkpoint into a bundle: graphs, packs, card, licences, and the gates that they must pass."""
