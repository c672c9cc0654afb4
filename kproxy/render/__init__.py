"""Templates to text: the one place that knows Jinja2."""
