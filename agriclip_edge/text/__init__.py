"""Words in, unit vectors out: the second, shorter way, for labels typed in the field."""
