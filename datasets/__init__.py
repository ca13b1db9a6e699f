"""The catalogue: projects, datasets (Delta tables with keys), what is known of them, and who may do what."""
