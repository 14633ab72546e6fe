"""Rasters of many bands: scenes in, class maps out."""
