"""Batches over tables in stores of data: a call for each row, and its answer in columns beside it."""
