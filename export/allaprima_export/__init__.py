"""Export: a run folder in, a proven bundle out. Needs the extra `export`."""
