"""One module per command group, each with `register(app)`. Heavy imports happen inside the commands."""
