"""What `import orbit2` offers in a notebook: data, models, training. Each is one call of what the commands call."""
