"""Renders templates to text. Only this package uses Jinja2."""
