"""Training: recipes in, run folders with small generators out. Needs the extra `train`."""
