"""What makes the page answer: scripts, sorting, filters, sliders. Never changes a number."""
