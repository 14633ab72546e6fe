"""Measures the product, side by side with what people use today, and writes records that the results page shows."""
